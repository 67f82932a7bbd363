//! The log of the process itself: JSON lines on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;

/// Environment variable with the filter, such as `debug` or `ringgate=trace`.
const FILTER_VARIABLE: &str = "RINGGATE_LOG";
/// Without that variable. The resolver's library complains of every odd packet, and our own log of every name that
/// fails or comes back.
const FILTER: &str = "info,hickory_net=off,hickory_proto=off,hickory_resolver=off";

/// Begins to log to standard error; a second call changes nothing.
pub(super) fn start() {
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|text| EnvFilter::try_new(text).ok());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_timer(Rfc3339)
        .with_target(false)
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(FILTER)))
        .with_writer(std::io::stderr);
    // A demonstration and the tests run several gateways in one process; the first one's log serves all.
    drop(subscriber.try_init());
}

/// Times as in the access log.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let time = clock::rfc3339(clock::unix_ms());
        writer.write_str(std::str::from_utf8(&time).map_err(|_| std::fmt::Error)?)
    }
}
