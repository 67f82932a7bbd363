//! What the access log tells of one exchange, kept for the judgement at the end.

use ringgate::telemetry::Record;

/// The fields of the same names in [`Record`].
pub(crate) struct Entry {
    pub(crate) unix_ms: u64,
    pub(crate) status: u16,
    pub(crate) duration_ns: u64,
    pub(crate) request_id: Vec<u8>,
    pub(crate) cluster: Vec<u8>,
    pub(crate) attempts: u32,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reason: Option<String>,
    pub(crate) reused: bool,
    pub(crate) epoch: u64,
}

impl From<Record<'_>> for Entry {
    fn from(record: Record<'_>) -> Self {
        Self {
            unix_ms: record.unix_ms,
            status: record.status,
            duration_ns: record.duration_ns,
            request_id: record.request_id.to_vec(),
            cluster: record.cluster.to_vec(),
            attempts: record.attempts,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            reason: record.reason.map(str::to_owned),
            reused: record.reused,
            epoch: record.epoch,
        }
    }
}
