use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::control::board::tests::board;
use crate::control::rollout::Concluded;
use crate::limits::ADMIN_CONNECTIONS;

/// Serves on a free port and answers `requests` in order over one connection each.
fn answers(reload: Option<Result<u64, String>>, requests: &[&str]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let board = Arc::new(board());
        let (sender, mut inbox) = mpsc::channel::<ReloadRequest>(1);
        let admin = on(AdminListen::Tcp("127.0.0.1:0".parse().unwrap()));
        let server = AdminServer::start(&admin, Arc::clone(&board), orders(sender), None).await.unwrap().unwrap();
        let answering = async {
            if let Some(answer) = reload {
                inbox.recv().await.unwrap().send(answer.map(|epoch| Reloaded { epoch, rollout: None })).unwrap();
            } else {
                inbox.close();
            }
        };
        let asking = async {
            let mut answers = Vec::new();
            for request in requests {
                let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answers.push(answer);
            }
            answers
        };
        let ((), answers) = tokio::join!(answering, asking);
        server.stop();
        answers
    })
}

/// Without TLS and tokens.
fn on(listen: AdminListen) -> Admin {
    Admin { listen, tls: None, token: None, read_token: None }
}

/// Orders to reload go to `reloads`, others to nobody.
fn orders(reloads: mpsc::Sender<ReloadRequest>) -> Orders {
    let upgrades = mpsc::channel(1).0;
    let (puts, rollouts) = (mpsc::channel(1).0, mpsc::channel(1).0);
    Orders { reloads, policies: mpsc::channel(1).0, weights: mpsc::channel(1).0, upgrades, puts, rollouts }
}

fn ask(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")
}

fn status_of(line: &str, fields: &str) -> String {
    answers(None, &[&ask(line, fields)])[0].lines().next().unwrap().to_owned()
}

#[test]
fn pages_answer_and_others_are_not_found() {
    let host = "Host: localhost:9090\r\n";
    for page in ["/metrics", "/health", "/healthz", "/status"] {
        assert_eq!(status_of(&format!("GET {page}"), host), "HTTP/1.1 200 OK", "{page}");
    }
    assert_eq!(status_of("GET /ready", host), "HTTP/1.1 503 Service Unavailable");
    let answer = &answers(None, &[&ask("GET /other", host)])[0];
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\nNot Found"), "{answer}");
    assert_eq!(status_of("GET /reload", host), "HTTP/1.1 405 Method Not Allowed");
}

#[test]
fn metrics_are_prometheus_text() {
    let answer = &answers(None, &[&ask("GET /metrics", "Host: localhost\r\n")])[0];
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\nconfig_last_reload_success 1\n"), "{answer}");
}

#[test]
fn a_page_of_another_site_is_refused() {
    assert_eq!(status_of("GET /status", "Host: evil.example\r\n"), "HTTP/1.1 403 Forbidden");
    let cross = "Host: 127.0.0.1:9090\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n";
    assert_eq!(status_of("POST /reload", cross), "HTTP/1.1 403 Forbidden");
    let opaque = "Host: 127.0.0.1:9090\r\nOrigin: null\r\n";
    assert_eq!(status_of("GET /status", opaque), "HTTP/1.1 403 Forbidden");
}

#[test]
fn a_reload_answers_with_its_epoch_or_its_report() {
    let request = ask("POST /reload", "Host: localhost\r\nContent-Length: 0\r\n");
    let answer = &answers(Some(Ok(3)), &[&request])[0];
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"epoch\":3,\"status\":\"ok\"}"), "{answer}");
    let answer = &answers(Some(Err("a:1:2: bad".to_owned())), &[&request])[0];
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("a:1:2: bad"), "{answer}");
    let answer = &answers(None, &[&request])[0];
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_decision_about_a_trial_that_a_worker_is_late_to_take_up_was_obeyed_all_the_same() {
    for (concluded, status, said) in [
        (Ok(Concluded { epoch: 4, is_adopted: true }), "200", "\"epoch\":4"),
        (Ok(Concluded { epoch: 4, is_adopted: false }), "500", "in force is epoch 4, but"),
        (Err("no configuration is on trial".to_owned()), "409", "no configuration is on trial"),
    ] {
        let (rollouts, mut inbox) = mpsc::channel::<RolloutRequest>(1);
        let orders = Orders { rollouts, ..orders(mpsc::channel(1).0) };
        let admin = on(AdminListen::Tcp("127.0.0.1:0".parse().unwrap()));
        let server = AdminServer::start(&admin, Arc::new(board()), orders, None).await.unwrap().unwrap();
        let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let request = ask("POST /rollout/promote", "Host: localhost\r\nContent-Length: 0\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        inbox.recv().await.unwrap().1.send(concluded).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.stop();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(said), "{answer}");
    }
}

#[test]
fn whoever_waits_for_the_outcome_of_an_order_is_not_turned_out_by_those_who_come() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut inbox) = mpsc::channel::<ReloadRequest>(1);
        let admin = on(AdminListen::Tcp("127.0.0.1:0".parse().unwrap()));
        let server = AdminServer::start(&admin, Arc::new(board()), orders(sender), None).await.unwrap().unwrap();
        let mut waiting = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let order = ask("POST /reload", "Host: localhost\r\nContent-Length: 0\r\n");
        waiting.write_all(order.as_bytes()).await.unwrap();
        let asked = inbox.recv().await.unwrap();
        let mut others = Vec::new();
        for _ in 0..=ADMIN_CONNECTIONS {
            let mut other = tokio::net::TcpStream::connect(&server.address).await.unwrap();
            other.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            assert_ne!(other.read(&mut [0; 1024]).await.unwrap(), 0, "it is answered");
            others.push(other);
        }
        asked.send(Ok(Reloaded { epoch: 7, rollout: None })).unwrap();
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        server.stop();
    });
}

#[test]
fn a_unix_socket_is_private_serves_and_is_replaced_when_stale() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = std::env::temp_dir().join(format!("ringgate-admin-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    // A listener that is dropped leaves its file behind, like a killed process.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    runtime.block_on(async {
        let (sender, _inbox) = mpsc::channel(1);
        let admin = on(AdminListen::Unix(path.clone()));
        let server =
            AdminServer::start(&admin, Arc::new(board()), orders(sender.clone()), None).await.unwrap().unwrap();
        assert_eq!(server.address, format!("unix:{}", path.display()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(ask("GET /health", "Host: anything\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let error = AdminServer::start(&admin, Arc::new(board()), orders(sender), None).await.unwrap_err();
        assert!(error.contains("another process"), "{error}");
        server.stop();
    });
    assert!(!path.exists());
}
