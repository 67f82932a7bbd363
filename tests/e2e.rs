//! The shipped binary on real loopback sockets, once on io_uring and once on epoll.
//!
//! A test is a dialogue: what a client sends, what an endpoint sees and replies, what the client gets. Nothing sleeps:
//! every read, accept and wait has a deadline, and timeouts are made short in the configuration instead.
//! Every port is chosen by the kernel and read from the line that the gateway writes when it starts.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test program: what it did not expect is its failure")]

/// Makes two tests of every function named: one on io_uring, one on epoll.
macro_rules! on_both_drivers {
    ($($name:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test] fn $name() { super::$name($crate::plan::Io::Uring); })+
        }
        mod epoll {
            $(#[test] fn $name() { super::$name($crate::plan::Io::Epoll); })+
        }
    };
}

/// Makes a test of `check` for each way that clients come in, against endpoints of every kind.
macro_rules! from_all_fronts {
    ($check:ident) => {
        fn from_http_1_0_to_all(io: $crate::plan::Io) {
            $check(io, $crate::pair::Front::Http10);
        }

        fn from_http_1_1_to_all(io: $crate::plan::Io) {
            $check(io, $crate::pair::Front::Http11);
        }

        fn from_http_1_1_over_tls_to_all(io: $crate::plan::Io) {
            $check(io, $crate::pair::Front::Http11Tls);
        }

        fn from_http_2_to_all(io: $crate::plan::Io) {
            $check(io, $crate::pair::Front::H2c);
        }

        fn from_http_2_over_tls_to_all(io: $crate::plan::Io) {
            $check(io, $crate::pair::Front::H2Tls);
        }
    };
}

#[path = "e2e/admin.rs"]
mod admin;
#[path = "e2e/admission.rs"]
mod admission;
#[path = "e2e/announced.rs"]
mod announced;
#[path = "e2e/browser.rs"]
mod browser;
#[path = "e2e/census.rs"]
mod census;
#[path = "e2e/check_online.rs"]
mod check_online;
#[path = "e2e/child_origin.rs"]
mod child_origin;
#[path = "e2e/client.rs"]
mod client;
#[path = "e2e/collector.rs"]
mod collector;
#[path = "e2e/containers.rs"]
mod containers;
#[path = "e2e/crash.rs"]
mod crash;
#[allow(dead_code, reason = "the unit tests of names use the rest of it")]
#[path = "../src/control/names/loopback/dns.rs"]
mod dns;
#[path = "e2e/endpoint.rs"]
mod endpoint;
#[path = "e2e/folder.rs"]
mod folder;
#[path = "e2e/gate.rs"]
mod gate;
#[path = "e2e/gateway.rs"]
mod gateway;
#[path = "e2e/h2_client.rs"]
mod h2_client;
#[path = "e2e/h2_origin.rs"]
mod h2_origin;
#[path = "e2e/h2_peer.rs"]
mod h2_peer;
#[path = "e2e/h2_scene.rs"]
mod h2_scene;
#[path = "e2e/h2_wire.rs"]
mod h2_wire;
#[path = "e2e/heirs.rs"]
mod heirs;
#[path = "e2e/issuer.rs"]
mod issuer;
#[path = "e2e/layer.rs"]
mod layer;
#[path = "e2e/message.rs"]
mod message;
#[path = "e2e/openapi.rs"]
mod openapi;
#[path = "e2e/origin.rs"]
mod origin;
#[path = "e2e/pair.rs"]
mod pair;
#[path = "e2e/patient.rs"]
mod patient;
#[path = "e2e/pki.rs"]
mod pki;
#[path = "e2e/plan.rs"]
mod plan;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/rpc.rs"]
mod rpc;
#[path = "e2e/secure_origin.rs"]
mod secure_origin;
#[path = "e2e/signers.rs"]
mod signers;
#[path = "e2e/site.rs"]
mod site;
#[path = "e2e/tool.rs"]
mod tool;
#[path = "e2e/trial.rs"]
mod trial;
#[path = "e2e/wait.rs"]
mod wait;
#[path = "e2e/websocket.rs"]
mod websocket;
#[path = "e2e/wire.rs"]
mod wire;

#[path = "e2e/accept_balance.rs"]
mod accept_balance;
#[path = "e2e/access.rs"]
mod access;
#[path = "e2e/api_keys.rs"]
mod api_keys;
#[path = "e2e/artefacts.rs"]
mod artefacts;
#[path = "e2e/asked_services.rs"]
mod asked_services;
#[path = "e2e/balance.rs"]
mod balance;
#[path = "e2e/bodies.rs"]
mod bodies;
#[path = "e2e/breakers.rs"]
mod breakers;
#[path = "e2e/canaries.rs"]
mod canaries;
#[path = "e2e/caps.rs"]
mod caps;
#[path = "e2e/client_certificates.rs"]
mod client_certificates;
#[path = "e2e/client_faults.rs"]
mod client_faults;
#[path = "e2e/clock_jumps.rs"]
mod clock_jumps;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/configuration.rs"]
mod configuration;
#[path = "e2e/connection_caps.rs"]
mod connection_caps;
#[path = "e2e/connections.rs"]
mod connections;
#[path = "e2e/dashboard.rs"]
mod dashboard;
#[path = "e2e/deadlines.rs"]
mod deadlines;
#[path = "e2e/doctor.rs"]
mod doctor;
#[path = "e2e/ejection.rs"]
mod ejection;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/exhaustion.rs"]
mod exhaustion;
#[path = "e2e/external_auth.rs"]
mod external_auth;
#[path = "e2e/failover.rs"]
mod failover;
#[path = "e2e/fitness.rs"]
mod fitness;
#[path = "e2e/forwarding.rs"]
mod forwarding;
#[path = "e2e/frozen.rs"]
mod frozen;
#[path = "e2e/grpc.rs"]
mod grpc;
#[path = "e2e/grpc_local.rs"]
mod grpc_local;
#[path = "e2e/grpc_python.rs"]
mod grpc_python;
#[path = "e2e/h2_abuse.rs"]
mod h2_abuse;
#[path = "e2e/h2_connections.rs"]
mod h2_connections;
#[path = "e2e/h2_endpoint.rs"]
mod h2_endpoint;
#[path = "e2e/h2_frames.rs"]
mod h2_frames;
#[path = "e2e/h2_requests.rs"]
mod h2_requests;
#[path = "e2e/h2_trailers.rs"]
mod h2_trailers;
#[path = "e2e/h2_tunnels.rs"]
mod h2_tunnels;
#[path = "e2e/h2_upstream.rs"]
mod h2_upstream;
#[path = "e2e/h2_upstream_connections.rs"]
mod h2_upstream_connections;
#[path = "e2e/h2_upstream_ends.rs"]
mod h2_upstream_ends;
#[path = "e2e/h2_upstream_faults.rs"]
mod h2_upstream_faults;
#[path = "e2e/h2_upstream_heads.rs"]
mod h2_upstream_heads;
#[path = "e2e/h2_upstream_identities.rs"]
mod h2_upstream_identities;
#[path = "e2e/h2_upstream_openings.rs"]
mod h2_upstream_openings;
#[path = "e2e/h2_upstream_policies.rs"]
mod h2_upstream_policies;
#[path = "e2e/h2_upstream_refusals.rs"]
mod h2_upstream_refusals;
#[path = "e2e/h2_upstream_tls.rs"]
mod h2_upstream_tls;
#[path = "e2e/h2_upstream_websockets.rs"]
mod h2_upstream_websockets;
#[path = "e2e/h2_websockets.rs"]
mod h2_websockets;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/idle_memory.rs"]
mod idle_memory;
#[path = "e2e/interop.rs"]
mod interop;
#[path = "e2e/interop_h2.rs"]
mod interop_h2;
#[path = "e2e/interop_tls.rs"]
mod interop_tls;
#[path = "e2e/interop_websocket.rs"]
mod interop_websocket;
#[path = "e2e/key_sources.rs"]
mod key_sources;
#[path = "e2e/killed.rs"]
mod killed;
#[path = "e2e/live_policy.rs"]
mod live_policy;
#[path = "e2e/logs.rs"]
mod logs;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/mirrors.rs"]
mod mirrors;
#[path = "e2e/misdirected.rs"]
mod misdirected;
#[path = "e2e/names.rs"]
mod names;
#[path = "e2e/pairs.rs"]
mod pairs;
#[path = "e2e/pairs_ends.rs"]
mod pairs_ends;
#[path = "e2e/pairs_streaming.rs"]
mod pairs_streaming;
#[path = "e2e/passwords.rs"]
mod passwords;
#[path = "e2e/policy_faults.rs"]
mod policy_faults;
#[path = "e2e/policy_order.rs"]
mod policy_order;
#[path = "e2e/pools.rs"]
mod pools;
#[path = "e2e/privileges.rs"]
mod privileges;
#[path = "e2e/probes.rs"]
mod probes;
#[path = "e2e/prometheus.rs"]
mod prometheus;
#[path = "e2e/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "e2e/proxy_protocol_out.rs"]
mod proxy_protocol_out;
#[path = "e2e/queues.rs"]
mod queues;
#[path = "e2e/rate_limits.rs"]
mod rate_limits;
#[path = "e2e/redis.rs"]
mod redis;
#[path = "e2e/redis_front.rs"]
mod redis_front;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/reload_faults.rs"]
mod reload_faults;
#[path = "e2e/reload_storm.rs"]
mod reload_storm;
#[path = "e2e/replay.rs"]
mod replay;
#[path = "e2e/requests.rs"]
mod requests;
#[path = "e2e/resolver.rs"]
mod resolver;
#[path = "e2e/responses.rs"]
mod responses;
#[path = "e2e/retries.rs"]
mod retries;
#[path = "e2e/revocations.rs"]
mod revocations;
#[path = "e2e/rollout.rs"]
mod rollout;
#[path = "e2e/rollout_events.rs"]
mod rollout_events;
#[path = "e2e/routes.rs"]
mod routes;
#[path = "e2e/rust_clients.rs"]
mod rust_clients;
#[path = "e2e/same_endpoint.rs"]
mod same_endpoint;
#[path = "e2e/sandbox.rs"]
mod sandbox;
#[path = "e2e/scrapers.rs"]
mod scrapers;
#[path = "e2e/secure_probes.rs"]
mod secure_probes;
#[path = "e2e/shared_limit_faults.rs"]
mod shared_limit_faults;
#[path = "e2e/shared_limits.rs"]
mod shared_limits;
#[path = "e2e/shared_policy.rs"]
mod shared_policy;
#[path = "e2e/shares.rs"]
mod shares;
#[path = "e2e/shedding.rs"]
mod shedding;
#[path = "e2e/shutdown.rs"]
mod shutdown;
#[path = "e2e/slow_readers.rs"]
mod slow_readers;
#[path = "e2e/soak.rs"]
mod soak;
#[path = "e2e/spans.rs"]
mod spans;
#[path = "e2e/splits.rs"]
mod splits;
#[path = "e2e/streaming.rs"]
mod streaming;
#[path = "e2e/successors.rs"]
mod successors;
#[path = "e2e/systemd.rs"]
mod systemd;
#[path = "e2e/timings.rs"]
mod timings;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/tls_faults.rs"]
mod tls_faults;
#[path = "e2e/tls_traffic.rs"]
mod tls_traffic;
#[path = "e2e/token_algorithms.rs"]
mod token_algorithms;
#[path = "e2e/tokens.rs"]
mod tokens;
#[path = "e2e/top.rs"]
mod top;
#[path = "e2e/traces.rs"]
mod traces;
#[path = "e2e/upgrade.rs"]
mod upgrade;
#[path = "e2e/upgrade_faults.rs"]
mod upgrade_faults;
#[path = "e2e/upgrades.rs"]
mod upgrades;
#[path = "e2e/upstream_faults.rs"]
mod upstream_faults;
#[path = "e2e/upstream_renewals.rs"]
mod upstream_renewals;
#[path = "e2e/upstream_tls.rs"]
mod upstream_tls;
#[path = "e2e/workers.rs"]
mod workers;
