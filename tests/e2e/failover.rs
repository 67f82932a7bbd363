//! Tiers of endpoints, one after the other: B13.

use super::child_origin::ChildOrigin;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::wait::until_true;

fn said_by(gateway: &Gateway, path: &str) -> String {
    let mut client = gateway.client();
    client.asks(path);
    client.expects(200).text().to_owned()
}

/// B13: a dead tier costs no request, the next one takes over at once; it is taken up again when it is back.
fn the_next_tier_takes_over_from_a_dead_one_at_once_and_gives_back(io: Io) {
    let mut first = ChildOrigin::start("first");
    let second = ChildOrigin::start("second");
    let (best, next) = (first.address(), second.address());
    let gateway = Plan::bare(io)
        .cluster_as(
            "app",
            &format!(
                "endpoints: [{{ url: 'http://{next}', priority: 7 }}, {{ url: 'http://{best}' }}], \
                 health: {{ active: {{ kind: tcp, interval: 50ms, healthy_after: 2, unhealthy_after: 2 }} }}"
            ),
        )
        .route("name: everything, cluster: app")
        .start();
    for _ in 0..4 {
        assert_eq!(said_by(&gateway, "/before"), "first");
    }
    assert!(second.requests().is_empty(), "the second tier is not needed");
    first.is_killed();
    for _ in 0..20 {
        assert_eq!(said_by(&gateway, "/gone"), "second");
    }
    let before = first.requests().len();
    let again = ChildOrigin::start_with("again", &["--port", &best.port().to_string()]);
    assert_eq!((before, again.address()), (4, best));
    until_true("the first tier is taken up again", || said_by(&gateway, "/back") == "again");
    for _ in 0..4 {
        assert_eq!(said_by(&gateway, "/after"), "again");
    }
    gateway.stop();
}

on_both_drivers![the_next_tier_takes_over_from_a_dead_one_at_once_and_gives_back];
