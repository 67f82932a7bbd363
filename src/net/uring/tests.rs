use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::rc::Rc;

use futures_util::future::{join, select};

use super::*;
use crate::net::BufferPool;

const DRIVERS: [Driver; 2] = [Driver::IoUring, Driver::Epoll];

fn listener() -> (std::net::TcpListener, std::net::TcpStream) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let client = std::net::TcpStream::connect(socket.local_addr().expect("a bound socket")).expect("a connection");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a positive time");
    (socket, client)
}

fn is_nonblocking(socket: impl AsFd) -> bool {
    SockRef::from(&socket).nonblocking().expect("an open socket")
}

/// Runs on a thread of its own, because a ring that ends leaves work to the thread that made it.
fn on_reactor<T: Send + 'static, F: Future<Output = T>>(
    driver: Driver,
    body: impl FnOnce(Reactor) -> F + Send + 'static,
) -> T {
    let thread = std::thread::Builder::new().spawn(move || run_reactor(driver, body(Reactor::new(driver))));
    thread.expect("a test may have threads").join().expect("no panic").expect("a reactor")
}

async fn hits_a_bug() {
    std::panic::resume_unwind(Box::new("a bug"));
}

/// The first task is made as the worker makes that of a connection: what it holds is dropped when the panic is over.
#[test]
fn every_task_that_a_panic_ends_is_told_of_once_and_no_other() {
    for driver in DRIVERS {
        let told = on_reactor(driver, move |reactor| async move {
            let (told, held) = (Rc::new(Cell::new(0)), Rc::new(()));
            let (teller, holder) = (Rc::clone(&told), Rc::clone(&held));
            reactor.on_panic(move || teller.set(teller.get() + 1));
            reactor.spawn(hits_a_bug().map(move |()| drop(holder)));
            reactor.spawn(hits_a_bug());
            reactor.spawn(async {});
            for _ in 0..10_000 {
                if reactor.tasks() == 0 {
                    break;
                }
                reactor.sleep_ms(1).await;
            }
            assert_eq!((reactor.tasks(), Rc::strong_count(&held)), (0, 1), "{driver:?}");
            told.get()
        });
        assert_eq!(told, 2, "{driver:?}");
    }
}

/// Reads three bytes and sends them back, twice, the second time only when it is told to.
async fn echo_twice(stream: TcpPeer) {
    let pool = BufferPool::new();
    for _ in 0..2 {
        let (read, buffer) = stream.read(pool.lend()).await;
        assert_eq!((read.expect("bytes"), buffer.filled().len()), (3, 3));
        stream.write(buffer).await.0.expect("the client reads");
    }
}

#[test]
fn a_connection_goes_from_one_reactor_to_another_of_either_driver() {
    for (from, to) in DRIVERS.into_iter().flat_map(|from| DRIVERS.map(|to| (from, to))) {
        let (socket, mut client) = listener();
        // What was sent before must not be lost, nor go unnoticed by the second reactor.
        client.write_all(b"one").expect("an open socket");
        let socket = on_reactor(from, move |reactor| async move {
            reactor.listen(socket).expect("a listener").accept().await.expect("a connection").0.into_std()
        });
        // SAFETY: a system call without memory.
        let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC, "{from:?}");
        let dialogue = std::thread::Builder::new().spawn(move || {
            let mut answer = [0; 3];
            for word in [b"one", b"two"] {
                client.read_exact(&mut answer).expect("an answer");
                assert_eq!(&answer, word);
                client.write_all(b"two").expect("an open socket");
            }
            assert_eq!(client.read(&mut answer).unwrap_or(0), 0, "closed");
        });
        on_reactor(to, move |reactor| async move {
            let stream = reactor.adopt(socket).expect("a connection");
            assert_eq!(is_nonblocking(stream.socket()), to == Driver::Epoll);
            echo_twice(stream).await;
        });
        dialogue.expect("a test may have threads").join().expect("the dialogue went as written");
    }
}

/// Reads, and fills the peer's window if it is told to; all of it stays in flight until it is dropped.
async fn keep_busy(stream: TcpPeer, floods: bool) {
    let pool = BufferPool::new();
    let read = stream.read(pool.lend());
    let flood = async {
        loop {
            let mut full = pool.lend();
            full.extend(&vec![b'x'; if floods { full.spare() } else { 0 }]);
            if full.is_empty() {
                return std::future::pending().await;
            }
            stream.write(full).await.0.expect("an open socket");
        }
    };
    let ((read, _), ()) = join(read, flood).await;
    drop(read);
}

/// Whoever is told that a connection is closed may open another one in its place, and a reset is none that looks orderly first.
#[test]
fn a_hang_up_is_the_peers_at_once_whatever_is_in_flight() {
    const WAYS: [(bool, bool); 3] = [(true, false), (false, true), (false, false)];
    for (driver, (floods, resets)) in DRIVERS.into_iter().flat_map(|driver| WAYS.map(|way| (driver, way))) {
        let (socket, client) = listener();
        let server = socket.accept().expect("a connection").0;
        server.set_nonblocking(true).expect("an open socket");
        on_reactor(driver, move |reactor| async move {
            let stream = reactor.adopt(client).expect("a connection");
            stream.hang_up_on_drop();
            if resets {
                stream.reset_on_close();
            }
            let busy = Box::pin(keep_busy(stream, floods));
            let rest = Box::pin(reactor.sleep_ms(50));
            drop(select(busy, rest).await);
            if floods || resets {
                let broken = server.take_error().expect("an open socket").map(|error| error.kind());
                assert_eq!(broken, Some(io::ErrorKind::ConnectionReset), "{driver:?}");
            } else {
                assert_eq!((&server).read(&mut [0; 8]).expect("the end"), 0, "{driver:?}");
            }
        });
    }
}

/// On epoll all of these are accepted without a wait.
#[test]
fn a_burst_of_connections_leaves_others_their_turn() {
    for driver in DRIVERS {
        let (socket, _client) = listener();
        let address = socket.local_addr().expect("a bound socket");
        let clients: Vec<_> =
            (0..100).map(|_| std::net::TcpStream::connect(address).expect("room in its queue")).collect();
        let turn = on_reactor(driver, move |reactor| async move {
            let listener = reactor.listen(socket).expect("a listener");
            let (accepted, turn) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
            for _ in &clients {
                drop(listener.accept().await.expect("a connection"));
                listener.let_others().await;
                accepted.set(accepted.get() + 1);
                if accepted.get() == 1 {
                    let (accepted, turn) = (Rc::clone(&accepted), Rc::clone(&turn));
                    reactor.spawn(async move { turn.set(Some(accepted.get())) });
                }
            }
            turn.get()
        });
        assert!(turn.is_some_and(|accepted| accepted < 100), "{driver:?}: {turn:?}");
    }
}

/// A blocking socket would stop an epoll reactor as soon as it has nothing to read.
#[test]
fn what_a_closed_listener_leaves_blocks_no_reactor() {
    for driver in DRIVERS {
        let (socket, _client) = listener();
        let left = on_reactor(driver, move |reactor| async move {
            let left = reactor.listen(socket).expect("a listener").close();
            left.iter().map(|(stream, _)| is_nonblocking(stream.socket())).collect::<Vec<_>>()
        });
        assert_eq!(left, [driver == Driver::Epoll], "{driver:?}");
    }
}
