//! A real browser without a window, told what to do by its own protocol (Chrome DevTools Protocol) over a WebSocket.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::folder::Folder;
use super::process::Process;
use super::wait::{PATIENCE, now_ms, until};

const SWITCHES: [&str; 15] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    "--remote-debugging-port=0",
];

/// A browser with one page.
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    page: String,
    calls: u64,
    /// Addresses of everything that the page asked for.
    pub(crate) asked: Vec<String>,
    /// What the page did wrong: exceptions, and what its policy refused.
    pub(crate) wrong: Vec<String>,
    process: Process,
    _profile: Folder,
}

impl Browser {
    /// A browser that shows nothing yet.
    pub(crate) fn start() -> Self {
        let profile = Folder::new();
        let mut command = Command::new("chromium");
        command.args(SWITCHES).arg(format!("--user-data-dir={}", profile.path("browser").display())).arg("about:blank");
        let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let file = profile.path("browser/DevToolsActivePort");
        let (port, path) = until("the browser", || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.trim_end().split_once('\n')?;
            Some((port.parse::<u16>().ok()?, path.to_owned()))
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("its protocol");
        let (asked, wrong) = (Vec::new(), Vec::new());
        let mut browser = Self { socket, page: String::new(), calls: 0, asked, wrong, process, _profile: profile };
        let target = browser.calls("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.calls("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.page);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.calls(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol; its result.
    pub(crate) fn calls(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": parameters});
        if !self.page.is_empty() {
            call["sessionId"] = self.page.clone().into();
        }
        self.socket.send(Message::text(call.to_string())).expect("the browser reads");
        loop {
            let told = self.hears();
            if told["id"] == self.calls {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].clone();
            }
            self.notes(&told);
        }
    }

    fn hears(&mut self) -> Value {
        let message = self.socket.read().expect("the browser answers");
        serde_json::from_str(message.to_text().expect("text")).expect("JSON")
    }

    fn notes(&mut self, told: &Value) {
        let what = &told["params"];
        match told["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.asked.push(text_of(&what["request"]["url"])),
            "Runtime.exceptionThrown" => self.wrong.push(what["exceptionDetails"].to_string()),
            // A gateway that is gone or refuses is the network's fault, and the tests' doing.
            "Log.entryAdded" if what["entry"]["source"] != "network" => self.wrong.push(what["entry"].to_string()),
            _ => {}
        }
    }

    /// Shows a page at a width and a height.
    pub(crate) fn opens(&mut self, url: &str, width: u32, height: u32) {
        self.sizes(width, height);
        let shown = self.calls("Page.navigate", json!({"url": url}));
        assert!(shown["errorText"].is_null(), "{shown}");
    }

    /// Gives the page another size.
    pub(crate) fn sizes(&mut self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.calls("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Prefers `light` or `dark`.
    pub(crate) fn prefers(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.calls("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// The value of an expression on the page.
    pub(crate) fn says(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.calls("Runtime.evaluate", asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// The text of the elements that a selector finds, one line each.
    pub(crate) fn reads(&mut self, selector: &str) -> String {
        let all = format!("[...document.querySelectorAll({selector:?})].map((one) => one.textContent).join('\\n')");
        text_of(&self.says(&all))
    }

    /// Waits until an expression is true on the page; the milliseconds that took.
    pub(crate) fn waits_for(&mut self, expression: &str) -> u64 {
        let began_ms = now_ms();
        until(expression, || {
            // Between two pages there is none to ask.
            let asked = json!({"expression": expression, "returnByValue": true});
            let told = self.calls("Runtime.evaluate", asked);
            (told["result"]["value"] == true).then(|| now_ms() - began_ms)
        })
    }

    /// Waits until the text that a selector finds holds `text`; the milliseconds that took.
    pub(crate) fn waits_to_read(&mut self, selector: &str, text: &str) -> u64 {
        let all = format!("[...document.querySelectorAll({selector:?})].map((one) => one.textContent).join('\\n')");
        self.waits_for(&format!("{all}.includes({text:?})"))
    }

    /// Presses a key and lets go of it: `Tab`, `Enter`, `Escape`, or one character.
    pub(crate) fn presses(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            other => (0, other),
        };
        let mut event = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text});
        self.calls("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.calls("Input.dispatchKeyEvent", event);
    }

    /// Types into what has the focus.
    pub(crate) fn types(&mut self, text: &str) {
        self.calls("Input.insertText", json!({"text": text}));
    }

    /// Keeps a picture of the page among the artefacts of the tests.
    pub(crate) fn pictures(&mut self, name: &str) {
        let shot = self.calls("Page.captureScreenshot", json!({"format": "png"}));
        let picture = BASE64.decode(shot["data"].as_str().expect("a picture").as_bytes()).expect("base64");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&folder).expect("the directory of artefacts");
        std::fs::write(folder.join(format!("{name}.png")), picture).expect("a file there");
    }

    /// Checks that nothing went wrong on the page, that it asked nobody but `allowed`, and ends.
    pub(crate) fn ends(mut self, allowed: &str) {
        // What was told by now is noted.
        self.says("1");
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let outside: Vec<&String> =
            self.asked.iter().filter(|url| !url.starts_with(allowed) && !url.starts_with("data:")).collect();
        assert!(outside.is_empty(), "{outside:#?}");
        assert!(self.asked.iter().any(|url| url.starts_with(allowed)), "{:#?}", self.asked);
        self.page.clear();
        self.calls("Browser.close", json!({}));
        until("the end of the browser", || self.process.ended());
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Longest time until something is to be seen, on a busy machine too.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(4);
