//! Which tasks run: started, kept, begun anew, ended.

use super::*;

struct Probing {
    probes: Probes,
    inbox: mpsc::UnboundedReceiver<Report>,
}

impl Probing {
    fn new(targets: Vec<Target>) -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        let mut probes = Probes::new(reports);
        probes.follow(targets);
        Self { probes, inbox }
    }

    async fn next(&mut self) -> Report {
        soon(self.inbox.recv()).await.unwrap()
    }

    /// The next report of a task that still runs.
    async fn next_current(&mut self) -> Report {
        loop {
            let report = self.next().await;
            if self.probes.followed.target_of(&report).is_some() {
                return report;
            }
        }
    }
}

fn numbered(id: u32, address: SocketAddr) -> Target {
    Target { id: EndpointId(id), ..target(ProbeKind::Tcp, address) }
}

#[tokio::test]
async fn unchanged_targets_keep_their_tasks_and_counts() {
    let target = numbered(1, silent().await);
    let mut probing = Probing::new(vec![target.clone()]);
    assert_eq!(probing.next().await.verdict, Some(true));
    for _ in 0..5 {
        probing.probes.follow(vec![target.clone()]);
        let report = probing.next().await;
        assert_eq!((report.ok, report.verdict), (true, None), "a task begun anew would tell its verdict again");
        assert_eq!(probing.probes.followed.target_of(&report).as_deref(), Some(&target));
    }
}

#[tokio::test]
async fn a_run_of_failures_goes_on_over_a_reload() {
    let (_socket, address) = closed_port();
    let target = numbered(1, address);
    let mut probing = Probing::new(vec![target.clone()]);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(probing.next().await.verdict);
        probing.probes.follow(vec![target.clone()]);
    }
    assert_eq!(verdicts, [None, None, Some(false)]);
}

#[tokio::test]
async fn a_changed_target_begins_anew_and_the_word_of_its_old_task_is_void() {
    let address = silent().await;
    let target = numbered(1, address);
    let mut probing = Probing::new(vec![target.clone()]);
    let old = probing.next().await;
    assert_eq!(old.verdict, Some(true));
    let mut changed = target;
    changed.health.unhealthy_after = 9;
    probing.probes.follow(vec![changed.clone()]);
    assert_eq!(probing.probes.followed.target_of(&old), None);
    let report = probing.next_current().await;
    assert_eq!(report.verdict, Some(true));
    assert_eq!(probing.probes.followed.target_of(&report).as_deref(), Some(&changed));
}

#[tokio::test]
async fn targets_come_and_go_by_themselves() {
    let address = silent().await;
    let mut probing = Probing::new(vec![numbered(1, address), numbered(2, address)]);
    let ids = |probing: &Probing| {
        let mut ids: Vec<u32> = probing.probes.followed.running().keys().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&probing), [1, 2]);
    let (one, two) = (probing.next().await, probing.next().await);
    assert_ne!(one.id, two.id);
    probing.probes.follow(vec![numbered(2, address), numbered(3, address)]);
    assert_eq!(ids(&probing), [2, 3]);
    for _ in 0..6 {
        let report = probing.next_current().await;
        assert_ne!(report.id.0, 1);
        assert_eq!(report.verdict.is_some(), report.id.0 == 3 && report.verdict == Some(true));
    }
}

#[tokio::test]
async fn stop_ends_every_task() {
    let address = silent().await;
    let mut probing = Probing::new((0..20).map(|id| numbered(id, address)).collect());
    probing.next().await;
    probing.probes.stop();
    let Probing { probes, mut inbox } = probing;
    let shared = Arc::downgrade(&probes.shared);
    drop(probes);
    // The channel closes with the last task.
    soon(async { while inbox.recv().await.is_some() {} }).await;
    assert!(shared.upgrade().is_none());
}

#[tokio::test]
async fn a_probe_under_way_and_its_connection_end_with_their_target() {
    for kind in [ProbeKind::Http, ProbeKind::Https, ProbeKind::Grpc] {
        let (events, mut inbox) = mpsc::unbounded_channel();
        let address = server(move |mut stream| {
            let events = events.clone();
            async move {
                stream.read_u8().await.unwrap();
                events.send("asked").unwrap();
                // Until the other side is gone, by an end or a reset.
                drop(stream.read_to_end(&mut Vec::new()).await);
                events.send("gone").unwrap();
            }
        })
        .await;
        let mut target = target(kind, address);
        target.health.tls.insecure_skip_verify = true;
        let mut probing = Probing::new(vec![target]);
        assert_eq!(soon(inbox.recv()).await, Some("asked"), "{kind:?}");
        probing.probes.follow(Vec::new());
        assert_eq!(soon(inbox.recv()).await, Some("gone"), "{kind:?}");
    }
}
