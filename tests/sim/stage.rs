//! A gateway, one endpoint and one script: the stage of the directed tests.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use crate::env::Dialled;
use crate::gateway::Gateway;
use crate::mailbox::Hearing;
use crate::pipe::{End, Profile, connection};
use crate::settings::{Settings, address};
use crate::world::{MS, World};

/// Longest script.
const END_MS: u64 = 60_000;

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) gateway: Rc<Gateway>,
    /// What endpoints note: request heads, ends, whatever a test asks about, with its millisecond.
    pub(crate) notes: Rc<RefCell<Vec<(u64, String)>>>,
}

/// What an endpoint's script works with: its connection and which one it is, from 0.
pub(crate) struct Upstream {
    pub(crate) world: World,
    pub(crate) end: End,
    pub(crate) number: usize,
    /// Room and number of the endpoint.
    pub(crate) at: (usize, usize),
    notes: Rc<RefCell<Vec<(u64, String)>>>,
}

impl Upstream {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.notes.borrow_mut().push((self.world.now_ms(), what.into()));
    }

    /// Reads a head and notes its first line; `None` at the end of the connection.
    pub(crate) async fn request(&self) -> Option<String> {
        let head = head(&self.end).await?;
        self.note(head.lines().next().unwrap_or_default());
        Some(head)
    }

    pub(crate) async fn say(&self, bytes: &str) {
        let _sent = self.end.send(bytes.as_bytes()).await;
    }

    /// Its connection, and what notes for it.
    pub(crate) fn apart(self) -> (End, impl Fn(&str) + Clone + 'static) {
        let Self { world, end, notes, .. } = self;
        (end, move |what: &str| notes.borrow_mut().push((world.now_ms(), what.to_owned())))
    }

    /// Reads nothing any more; waits for the gateway to close, and notes it.
    pub(crate) async fn note_end_unread(&self) {
        while !self.end.conn.has_ended(self.end.side) {
            self.world.sleep_ms(1).await;
        }
        self.note("gone");
    }

    /// Waits for the gateway to close, and notes it.
    pub(crate) async fn note_end(&self) {
        while self.end.recv().await.is_ok_and(|bytes| !bytes.is_empty()) {}
        self.note("gone");
    }
}

/// Reads byte by byte up to an empty line; what follows stays unread.
pub(crate) async fn head(end: &End) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let byte = std::future::poll_fn(|poller| end.poll_recv(poller, 1)).await.ok()?;
        if byte.is_empty() {
            return None;
        }
        bytes.extend(byte);
    }
    String::from_utf8(bytes).ok()
}

/// Reads a response with a Content-Length.
pub(crate) async fn response(end: &End) -> Option<String> {
    let head = head(end).await?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |text| text.parse().expect("a number"));
    let mut body = Vec::new();
    while body.len() < length {
        let left = length - body.len();
        let more = std::future::poll_fn(|poller| end.poll_recv(poller, left)).await.ok()?;
        if more.is_empty() {
            return None;
        }
        body.extend(more);
    }
    Some(head + &String::from_utf8_lossy(&body))
}

/// Reads to the end of the connection; the flag says that it was a reset.
pub(crate) async fn rest(end: &End) -> (String, bool) {
    let mut all = Vec::new();
    loop {
        match end.recv().await {
            Ok(bytes) if bytes.is_empty() => return (String::from_utf8_lossy(&all).into_owned(), false),
            Ok(bytes) => all.extend(bytes),
            Err(_) => return (String::from_utf8_lossy(&all).into_owned(), true),
        }
    }
}

impl Stage {
    /// One worker, and one endpoint that plays `script` on every connection.
    pub(crate) fn new<F: Future<Output = ()> + 'static>(script: impl Fn(Upstream) -> F + 'static) -> Rc<Self> {
        Self::with(1, &Settings::plain([0]), &[(0, 0)], script)
    }

    /// Several workers, and endpoints by room and number that play `script` on every connection.
    pub(crate) fn with<F: Future<Output = ()> + 'static>(
        workers: usize,
        settings: &Settings,
        listening: &[(usize, usize)],
        script: impl Fn(Upstream) -> F + 'static,
    ) -> Rc<Self> {
        Self::over(Profile::FAST, workers, settings, listening, script)
    }

    /// The same, with connections to endpoints that move bytes like this.
    pub(crate) fn over<F: Future<Output = ()> + 'static>(
        profile: Profile,
        workers: usize,
        settings: &Settings,
        listening: &[(usize, usize)],
        script: impl Fn(Upstream) -> F + 'static,
    ) -> Rc<Self> {
        Self::hearing(Hearing::KEEN, profile, workers, settings, listening, script)
    }

    /// The same, of workers that hear one another like this.
    pub(crate) fn hearing<F: Future<Output = ()> + 'static>(
        hearing: Hearing,
        profile: Profile,
        workers: usize,
        settings: &Settings,
        listening: &[(usize, usize)],
        script: impl Fn(Upstream) -> F + 'static,
    ) -> Rc<Self> {
        let world = World::new(7);
        let gateway = Gateway::new(&world, workers, hearing, settings, Vec::new());
        let notes: Rc<RefCell<Vec<(u64, String)>>> = Rc::default();
        let (opened, script) = (Rc::new(Cell::new(0)), Rc::new(script));
        for &at in listening {
            let (there, kept) = (world.clone(), Rc::clone(&notes));
            let (opened, script) = (Rc::clone(&opened), Rc::clone(&script));
            gateway.network.listen(address(at.0, at.1), move || {
                let number = opened.replace(opened.get() + 1);
                let (ours, end) = connection(&there, format!("up{number}"), profile);
                there.spawn(script(Upstream { world: there.clone(), end, number, at, notes: Rc::clone(&kept) }));
                Dialled::Open(ours)
            });
        }
        Rc::new(Self { world, gateway, notes })
    }

    pub(crate) fn client(&self) -> End {
        self.client_of(0)
    }

    /// A client of that worker.
    pub(crate) fn client_of(&self, worker: usize) -> End {
        self.gateway.accept_at(worker, "client".to_owned(), Profile::FAST)
    }

    /// Plays `script` to its end, which must come.
    pub(crate) fn play(self: &Rc<Self>, script: impl Future<Output = ()> + 'static) {
        let over = Rc::new(Cell::new(false));
        let flag = Rc::clone(&over);
        self.world.spawn(async move {
            script.await;
            flag.set(true);
        });
        assert!(self.world.run(END_MS * MS, || over.get()), "the script hangs at {} ms", self.world.now_ms());
        self.world.end();
        assert_eq!(self.world.problems(), Vec::<String>::new());
    }

    pub(crate) fn noted(&self) -> Vec<String> {
        self.notes.borrow().iter().map(|(_, what)| what.clone()).collect()
    }

    /// When a note was made.
    pub(crate) fn time_of(&self, what: &str) -> Option<u64> {
        self.notes.borrow().iter().find(|(_, note)| note == what).map(|(at_ms, _)| *at_ms)
    }
}
