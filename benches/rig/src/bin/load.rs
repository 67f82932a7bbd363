//! Load that wrk cannot make: requests at a fixed rate, thousands of idle connections, and TLS handshakes of one kind.
//!
//! `load rate --to PORT --path P --rate R [--conns N] [--seconds S] [--warmup S] [--batch N] [--from ADDRESS:PORT,...]`
//! prints one JSON line. A latency counts from the instant its request was due, so a stall is charged to every request
//! that it delayed. At rate 0 a connection's next batch of requests is due as soon as the last one was answered.
//! `load idle --to PORT [--conns N]` opens N connections, one request each, prints how many it holds, waits for a line on
//! standard input, asks again on each and prints how many answered.
//! `load tls --to PORT --believe FILE [--resume 1] [--conns N] [--seconds S]` opens a TLS connection for each request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ringgate_rig::arguments::value;
use ringgate_rig::open_loop::{Load, Plan};
use ringgate_rig::{handshakes, held, wake};

fn main() -> io::Result<()> {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("rate") => plan().map(rate),
        Some("idle") => held_arguments().map(|(port, connections)| held::hold(port, connections)),
        Some("tls") => handshakes().map(|plan| plan.run().map(|line| println!("{line}"))),
        _ => Err("usage: load rate|idle|tls --to PORT ...".to_owned()),
    };
    outcome.unwrap_or_else(|complaint| Err(io::Error::other(complaint)))
}

fn plan() -> Result<Plan, String> {
    Ok(Plan {
        port: value("--to", None)?,
        path: value("--path", None)?,
        rate: value("--rate", None)?,
        batch: value("--batch", Some(1))?,
        connections: value("--conns", Some(64))?,
        sources: sources()?,
        measured: Duration::from_secs_f64(value("--seconds", Some(5.0))?),
        warmup: Duration::from_secs_f64(value("--warmup", Some(1.0))?),
    })
}

fn handshakes() -> Result<handshakes::Plan, String> {
    Ok(handshakes::Plan {
        port: value("--to", None)?,
        believed: value("--believe", None)?,
        resumes: value("--resume", Some(0))? == 1,
        connections: value("--conns", Some(16))?,
        measured: Duration::from_secs_f64(value("--seconds", Some(5.0))?),
    })
}

fn sources() -> Result<Vec<SocketAddr>, String> {
    let list: String = value("--from", Some(String::new()))?;
    let parse = |source: &str| source.parse().map_err(|_| format!("--from does not understand {source:?}"));
    list.split(',').filter(|source| !source.is_empty()).map(parse).collect()
}

fn held_arguments() -> Result<(u16, usize), String> {
    Ok((value("--to", None)?, value("--conns", Some(10_000))?))
}

fn rate(plan: Plan) -> io::Result<()> {
    wake::without_timer_slack();
    println!("{}", Load::start(plan)?.run()?);
    Ok(())
}
