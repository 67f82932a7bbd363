//! A monoio runtime with the gateway's flags, and listening sockets.

use std::io;
use std::net::SocketAddr;

use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use socket2::{Domain, Protocol, Socket, Type};

/// Entries of the submission queue.
const ENTRIES: u32 = 4096;
/// Entries of the completion queue.
const COMPLETIONS: u32 = 32_768;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 65_535;

/// Bytes of a buffer for heads and bodies.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// Runs `serve` to its end on a thread pinned to the first CPU the process may use.
///
/// # Errors
/// What `serve` returns, or why the ring could not be set up.
pub fn run_pinned<F>(serve: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let reactor = std::thread::spawn(move || {
        if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.first().copied()) {
            core_affinity::set_for_current(core);
        }
        // The kernel ties a single-issuer ring to the thread that makes it.
        let mut flags = io_uring::IoUring::builder();
        flags.setup_single_issuer().setup_coop_taskrun().setup_cqsize(COMPLETIONS);
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).uring_builder(flags).build()?;
        runtime.block_on(serve())
    });
    reactor.join().unwrap_or_else(|_| Err(io::Error::other("the reactor panicked")))
}

/// Binds a loopback port, 0 for any, prints the port on a line of its own and returns the listener.
///
/// # Errors
/// Why the port could not be bound.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = bind(port, Port::Own)?;
    println!("{}", listener.local_addr()?.port());
    TcpListener::from_std(listener)
}

/// Binds a loopback port on which other processes listen as well: the kernel deals connections out to them.
///
/// # Errors
/// Why the port could not be bound.
pub fn listen_beside_others(port: u16) -> io::Result<TcpListener> {
    TcpListener::from_std(bind(port, Port::Shared)?)
}

#[derive(Clone, Copy, PartialEq)]
enum Port {
    Own,
    Shared,
}

fn bind(port: u16, whose: Port) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(whose == Port::Shared)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts connections for ever and runs `serve` for each in a task of its own; a failed connection ends alone.
///
/// # Errors
/// Why accepting failed.
pub async fn accept_each<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = serve(stream);
        monoio::spawn(async move {
            // A peer that went away is the usual end of a connection here and concerns nobody else.
            let _ended = connection.await;
        });
    }
}
