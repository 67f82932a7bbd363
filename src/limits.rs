//! Every bound of the process in one place, asserted against one another at compile time.
//!
//! A bound that an operator may change is the default here and is checked against its `_MAX` by the
//! configuration; a bound without a setting is a property of the implementation.

/// Default bytes of one message head (request line or status line plus all field lines).
pub const HEADER_BYTES_DEFAULT: usize = 64 * 1024;
/// Most bytes of one message head that a configuration may allow.
pub const HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Least bytes of one message head that a configuration may allow.
pub const HEADER_BYTES_MIN: usize = 1024;
/// Default number of field lines in one message head.
pub const HEADER_COUNT_DEFAULT: usize = 128;
/// Most field lines in one message head that a configuration may allow.
pub const HEADER_COUNT_MAX: usize = 1024;
/// Bytes of a request line, longer ones are answered with 414 (RFC 9112 section 3 recommends at least 8000).
pub const REQUEST_LINE_BYTES: usize = 16 * 1024;
/// Empty lines ignored before a request line (RFC 9112 section 2.2 asks for at least one).
pub const LEADING_EMPTY_LINES: usize = 4;
/// Bytes of one chunk-size line, extensions included.
pub const CHUNK_LINE_BYTES: usize = 4 * 1024;
/// Bytes of chunk extensions in one whole body.
pub const CHUNK_EXTENSION_BYTES: usize = 16 * 1024;
/// Bytes of one trailer section.
pub const TRAILER_BYTES: usize = 8 * 1024;
/// Interim (1xx) responses relayed for one request.
pub const INTERIM_RESPONSES: usize = 8;

/// Bytes of a buffer that holds heads and small bodies.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a buffer that a streaming body grows into.
pub const BODY_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes of such a buffer beyond what a read fills: TLS adds some to as much as that, and writes it at once.
pub const BODY_BUFFER_SLACK: usize = 1024;
/// Body buffers of the large size that one worker lends at once; further bodies stream through small ones.
pub const BODY_BUFFERS_PER_WORKER: usize = 64;
/// Small buffers out, below which an idle connection keeps its own instead of being parked.
pub const BUFFERS_IDLE: usize = 256;
/// Small buffers out, above which an idle connection is parked at once instead of after [`PARK_AFTER_MS`].
pub const BUFFERS_HOT: usize = 384;
/// Small buffers that a worker keeps for reuse, if it did not need more of them a moment ago.
pub const BUFFERS_KEPT: usize = 1024;
/// Large buffers that a worker keeps for reuse, as long as it needs them.
pub const BODY_BUFFERS_KEPT: usize = BODY_BUFFERS_PER_WORKER;
/// Bytes kept free before a body in a buffer, for a chunk-size line.
pub const CHUNK_HEADROOM: usize = 20;
/// Bytes kept free behind a body in a buffer, for the end of a chunk and the last chunk.
pub const CHUNK_TAILROOM: usize = 8;

/// Milliseconds between two runs of a worker's housekeeping.
pub const TICK_MS: u64 = 10;
/// Milliseconds between two trims of a worker's spare buffers.
pub const TRIM_MS: u64 = 1_000;
/// Milliseconds after which a waiting exchange starts to watch its client for a disconnect.
pub const CLIENT_WATCH_MS: u64 = 50;
/// Milliseconds for which an endpoint that could not be reached is spared while others are fit.
pub const CONNECT_REST_MS: u64 = 1_000;
/// Milliseconds for which an endpoint is spared while others are fit when a busy connection of it died: its other ones may be
/// about to.
pub const DEATH_REST_MS: u64 = 100;
/// Milliseconds of rest from which on the end of a connection is taken for that of a rest, and not held against its endpoint.
pub const STALE_MS: u64 = 1_000;
/// Most milliseconds for which an endpoint is spared because it asked for it (`Retry-After`).
pub const RETRY_AFTER_MS: u64 = 60_000;
/// Milliseconds a request waits for an idle connection of another worker when a cluster at its cap has no queue: much
/// longer than that takes, as it is refused although there is room when they are over.
pub const RECLAIM_MS: u64 = 500;
/// Requests of a process that may wait so at once.
pub const RECLAIM_QUEUE: usize = 64;
/// Copies of requests that one worker has under way to mirrors.
pub const MIRRORS: usize = 64;
/// Bytes that are read, and dropped, of a mirror's answer; the connection of a longer one is closed.
pub const MIRROR_ANSWER_BYTES: usize = 1024 * 1024;
/// Default milliseconds for a TLS handshake, from the accepted connection to its end.
pub const HANDSHAKE_MS: u64 = 10_000;
/// TLS handshakes that one worker has under way, once their first byte has come; for a further one the oldest is ended.
pub const HANDSHAKES_PER_WORKER: usize = 4096;
/// Seconds in which session tickets are sealed with one key; they are opened for as long again.
pub const TICKET_PERIOD_S: u32 = 6 * 60 * 60;
/// Milliseconds for which one side of a tunnel may stay silent once the other has ended.
pub const TUNNEL_HALF_CLOSED_MS: u64 = 30_000;
/// Most connections of one listener that a configuration may allow.
pub const CONNECTIONS_MAX: usize = 10_000_000;
/// Most connections of one client that a configuration may allow.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 1_000_000;
/// Sets of sixteen entries, eight bytes each, by which the connections of a listener's clients are counted: 2 MiB, and with
/// a fifth of the entries taken hardly a set is full.
pub const CLIENT_SETS: usize = 16 * 1024;
/// Entrances of listeners that are gone, or became one with another, whose connections are still known.
pub const FORMER_ENTRANCES: usize = 64;
/// Default number of streams that a client may have open on one HTTP/2 connection.
pub const H2_STREAMS_DEFAULT: u32 = 100;
/// Most streams that a configuration may allow on one HTTP/2 connection.
pub const H2_STREAMS_MAX: u32 = 1000;
/// Bytes that a client may send on one stream of HTTP/2 ahead of what is taken.
pub const H2_STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that a client may send on one connection of HTTP/2 ahead of what is taken.
pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of a response that one stream keeps ready for its connection.
pub const H2_SEND_BUFFER: usize = 32 * 1024;
/// Milliseconds in which a client of HTTP/2 has the budgets below.
pub const H2_BUDGET_MS: u64 = 10_000;
/// Frames that carry nothing, beyond what goes with requests and responses.
pub const H2_CONTROL_FRAMES: u64 = 1000;
/// Streams that a client resets, or makes us reset, beyond a fifth of all; as many as it may have open, if those are more.
pub const H2_RESETS: u64 = 100;
/// Streams reset by ourselves of which late frames are still taken for what they are.
pub const H2_RESETS_REMEMBERED: usize = 100;
/// Streams that a client reset before they were looked at, beyond those that it may reset: so that the budget decides.
pub const H2_RESETS_UNSEEN: usize = 100;
/// CONTINUATION that any field section may have besides the last, however few bytes it may have.
pub const H2_CONTINUATIONS: u32 = 5;
/// Bytes that small frames of content may cost one connection beyond what they carry, while they wait to be taken.
pub const H2_CONTENT_OVERHEAD: usize = 512 * 1024;
/// Errors of streams over the life of one connection.
pub const H2_STREAM_ERRORS: usize = 1024;
/// Milliseconds that a closing HTTP/2 connection waits for its client's word that no stream is on its way.
pub const H2_GOAWAY_MS: u64 = 1_000;
/// Streams that requests share a connection to an endpoint for until its settings are known (RFC 9113 section 6.5.2
/// recommends no fewer).
pub const H2_UPSTREAM_STREAMS_ASSUMED: u32 = 100;
/// Most streams on one connection to an endpoint, whatever it allows.
pub const H2_UPSTREAM_STREAMS: u32 = 128;
/// Streams over the life of one connection to an endpoint: so many identities there are (RFC 9113 section 5.1.1).
pub const H2_UPSTREAM_IDENTITIES: u32 = 1 << 30;
/// Bytes that an endpoint may send on one connection ahead of what is taken: as much as on all its streams, so that no
/// number of slow clients stops the others.
pub const H2_UPSTREAM_WINDOW: u32 = H2_STREAM_WINDOW * H2_UPSTREAM_STREAMS;
/// Times that a silent endpoint is asked for a sign of life before it says something of its own accord; each time after
/// twice the silence.
pub const H2_PINGS: u32 = 3;
/// Milliseconds of silence before it is asked again after that: servers of gRPC end connections on which more often than every five minutes somebody
/// asks while they have nothing to say.
pub const H2_PING_RARELY_MS: u64 = 360_000;
/// Connections that one request is tried on because an endpoint did not look at it, or had no room after all.
pub const H2_REFUSALS: u32 = 3;
/// Milliseconds a keep-alive connection may be idle before it gives its buffer and task state back.
pub const PARK_AFTER_MS: u64 = 100;
/// The least that a connection of HTTP/2 may take next to nothing, however short memory is: it carries many streams.
pub const H2_PATIENCE_MS: u64 = 500;
/// Milliseconds that a closing connection may still send what nobody reads (RFC 9112 section 9.6).
pub const LINGER_MS: u64 = 2_000;
/// Bytes read and dropped while a connection lingers before its close.
pub const LINGER_BYTES: usize = 1024 * 1024;

/// Most requests of a rate limit in its period, and most tokens of a bucket.
pub const RATE_LIMIT_MAX: u32 = 1_000_000;
/// Shortest period of a rate limit, in milliseconds.
pub const RATE_PERIOD_MS_MIN: u64 = 1;
/// Longest period of a rate limit, in milliseconds.
pub const RATE_PERIOD_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// Longest time, in nanoseconds, in which an empty bucket of tokens may fill.
pub const RATE_FILL_NS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000_000_000;
/// Sets of the process's ledger of rate limits: seven keys and 128 bytes each.
pub const RATE_LEDGER_SETS: usize = 32 * 1024;
/// Keys for which one worker leases tokens of high rate limits.
pub const RATE_SHARD_SLOTS: usize = 1024;
/// Of so many tokens of a high rate limit one may be lost in leases; twice, by those who use less than they took and by what
/// bursts are kept smaller. A limit is exact below this times the number of workers.
pub const RATE_LEASE_SHARE: u32 = 128;

/// Keys of which one worker holds leases from a store.
pub const RATE_LEASES: usize = 16 * 1024;
/// Questions to stores that are on their way, of one worker and of all.
pub const STORE_ASKS: usize = 4096;
/// Milliseconds after which a question that was not answered is forgotten; longer than any patience.
pub const STORE_FORGET_MS: u64 = 60_000;
/// Milliseconds for which a store that had no answer is not asked.
pub const STORE_REST_MS: u64 = 250;
/// Longest wait for a store that may be configured, in milliseconds.
pub const STORE_TIMEOUT_MS_MAX: u64 = 10_000;

/// Most clients with series of their own on `/metrics` that a configuration may ask for, and that a worker tells apart.
pub const TOP_CLIENTS_MAX: usize = 256;
/// Clients with series of their own on `/metrics`.
pub const TOP_CLIENTS_DEFAULT: usize = 50;

/// Entries of a worker's submission queue.
pub const RING_ENTRIES: u32 = 4096;
/// Entries of a worker's completion queue.
pub const RING_COMPLETIONS: u32 = 32768;
/// Most workers of one process.
pub const WORKERS_MAX: usize = 256;
/// Backlog of a listening socket.
pub const LISTEN_BACKLOG: i32 = 65_535;
/// Bytes of one worker's ring of access-log records.
pub const LOG_RING_BYTES: usize = 1024 * 1024;
/// Bytes of one worker's ring of exchanges on their way to a collector of traces.
pub const SPAN_RING_BYTES: usize = 1024 * 1024;
/// Bytes of one logged field; longer ones are cut.
pub const LOG_FIELD_BYTES: usize = 2048;
/// Most bytes of each thing that is told of a client's certificate; what is longer is not told at all.
pub const CERTIFICATE_TEXT_BYTES: usize = 2048;
/// Routes with a series of their own on `/metrics`; the rest share `other`.
pub const ROUTE_SERIES: usize = 1024;
/// Clusters with latencies of their own; the rest share `other`.
pub const CLUSTER_SERIES: usize = 256;
/// At a cluster's cap, a request whose endpoint has no idle connection uses one of another endpoint, or the one that it waited
/// for. After so many more of these than there were the other way round, one closes that connection for a new one to its
/// endpoint, so that connections follow the balancer and 97 % of requests at least find one open all the same.
pub const INSISTS_AFTER: i8 = 32;
/// One in so many requests has its shortest stages timed.
pub const TIMED_ONE_IN: u32 = 16;
/// Connections of the admin server at once; one more takes the place of the one that sent and took nothing for longest.
pub const ADMIN_CONNECTIONS: usize = 64;
/// Endpoints with series of their own on `/metrics`, and clusters.
pub const ENDPOINT_SERIES: usize = 1024;
/// Endpoint identities a process can hold at once.
pub const ENDPOINTS_MAX: usize = 16 * 1024;
/// Messages waiting in a worker's mailbox.
pub const MAILBOX_MESSAGES: usize = 256;
/// Bytes of a bearer token that is looked at.
pub const TOKEN_BYTES: usize = 16 * 1024;
/// Keys that one token is tried with when it does not say which.
pub const TOKEN_KEY_TRIES: usize = 8;
/// Bytes of a claim, or of the name of an API key's holder, that an endpoint is told.
pub const CLAIM_TEXT_BYTES: usize = 1024;
/// Bytes of a set of keys.
pub const JWKS_BYTES: usize = 1024 * 1024;
/// Keys of one set.
pub const JWKS_KEYS: usize = 256;
/// API keys of one file.
pub const API_KEYS: usize = 100_000;
/// Bytes of an API key that is looked at.
pub const API_KEY_BYTES: usize = 1024;
/// Users of one file.
pub const USERS: usize = 100_000;
/// Bytes of the credentials of a user, in base64, that are looked at.
pub const BASIC_BYTES: usize = 2048;
/// The highest cost of a hash by bcrypt: about a second for each password.
pub const BCRYPT_COST: u32 = 14;
/// The most memory of a hash by Argon2.
pub const ARGON2_KIB: u32 = 256 * 1024;
/// The most memory of a hash by Argon2 over all its passes: about a second for each password.
pub const ARGON2_WORK_KIB: u64 = 1024 * 1024;
/// Passwords that wait to be tried, of one worker and of all.
pub const PASSWORD_ASKS: usize = 64;
/// Milliseconds that a request waits for its password to be tried.
pub const PASSWORD_WAIT_MS: u64 = 5_000;
/// Most threads that try passwords.
pub const PASSWORD_THREADS: usize = 4;
/// Seconds for which a user's password that was right is known.
pub const PASSWORD_KNOWN_S: u64 = 3_600;
/// Wrong passwords that one worker keeps in mind.
pub const REFUSED_ENTRIES: usize = 256;
/// Seconds for which a password that was wrong is refused without being tried again.
pub const REFUSED_S: u64 = 10;
/// Connections on which a service of authentication is asked one question.
pub const AUTH_ATTEMPTS: usize = 3;
/// Bytes of its answer that a client gets.
pub const AUTH_BODY_BYTES: usize = 64 * 1024;
/// Longest wait for it that may be configured, in milliseconds.
pub const AUTH_TIMEOUT_MS_MAX: u64 = 10_000;
/// Longest time for which its answers may be remembered, in seconds.
pub const AUTH_CACHE_S_MAX: u64 = 3_600;
/// Verified credentials that one worker keeps.
pub const AUTH_CACHE_ENTRIES: usize = 4096;
/// Bytes of a credential that is kept; a longer one is verified each time.
pub const AUTH_CACHED_BYTES: usize = 4 * 1024;
/// Errors of a configuration printed before the rest is only counted.
pub const CONFIG_ERRORS: usize = 50;
/// Bytes of one configuration file.
pub const CONFIG_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a configuration that an operator sends.
pub const CONFIG_PUT_BYTES: usize = 8 * 1024 * 1024;

const _: () = {
    assert!(HEADER_BYTES_MIN <= HEADER_BYTES_DEFAULT && HEADER_BYTES_DEFAULT <= HEADER_BYTES_MAX);
    assert!(HEADER_COUNT_DEFAULT <= HEADER_COUNT_MAX);
    assert!(REQUEST_LINE_BYTES <= HEADER_BYTES_DEFAULT);
    assert!(BUFFER_BYTES < BODY_BUFFER_BYTES);
    assert!(CONFIG_PUT_BYTES as u64 <= CONFIG_BYTES);
    assert!(CHUNK_HEADROOM + CHUNK_TAILROOM < BUFFER_BYTES);
    // Eighteen bytes hold sixteen hexadecimal digits and the line end of a chunk-size line.
    assert!(CHUNK_HEADROOM >= 18);
    // The end of a chunk and the last chunk: CRLF 0 CRLF CRLF.
    assert!(CHUNK_TAILROOM >= 7);
    assert!(CLIENT_WATCH_MS >= TICK_MS && PARK_AFTER_MS >= TICK_MS);
    assert!(H2_STREAMS_DEFAULT <= H2_STREAMS_MAX);
    // RFC 9113 section 6.9.1: no window is larger.
    assert!(H2_STREAM_WINDOW <= H2_CONNECTION_WINDOW && H2_CONNECTION_WINDOW < 1 << 31);
    assert!(H2_UPSTREAM_STREAMS_ASSUMED <= H2_UPSTREAM_STREAMS && H2_UPSTREAM_WINDOW < 1 << 31);
    // A client may leave all its streams at once.
    assert!(H2_STREAMS_DEFAULT as u64 <= H2_RESETS && H2_STREAMS_MAX as u64 <= H2_CONTROL_FRAMES);
    assert!(TOP_CLIENTS_DEFAULT <= TOP_CLIENTS_MAX);
    assert!(AUTH_CACHED_BYTES <= TOKEN_BYTES && TOKEN_BYTES < HEADER_BYTES_DEFAULT);
    // Sets of four.
    assert!(AUTH_CACHE_ENTRIES.is_multiple_of(4));
    assert!(RING_ENTRIES < RING_COMPLETIONS);
    assert!(RATE_PERIOD_MS_MAX * 1_000_000 <= RATE_FILL_NS_MAX && RATE_SHARD_SLOTS.is_power_of_two());
    // What is lost of a limit: unused leases of one window, as many more over time, and a smaller burst.
    assert!(3 * 40 < RATE_LEASE_SHARE);
    assert!(BUFFERS_IDLE < BUFFERS_HOT && BUFFERS_HOT <= BUFFERS_KEPT);
    // A record of the access log holds a handful of fields and must fit many times over.
    assert!(LOG_RING_BYTES >= 32 * LOG_FIELD_BYTES);
};
