//! What workers give up: files, programs and rare system calls.

use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// What it says where the kernel allows all of it.
pub(crate) const WHOLE: &str = "workers give up files, programs and rare system calls";
/// What it says where it does not.
pub(crate) const IN_PART: &str = "workers are sandboxed in part";

/// Is there a filter of system calls: of each worker, and of the main thread?
fn filtered(gateway: &Gateway) -> (Vec<bool>, bool) {
    let threads = gateway.process.threads("Seccomp:");
    let of = |is_worker: bool| {
        let of_kind = threads.iter().filter(move |(name, _)| name.starts_with("worker-") == is_worker);
        of_kind.map(|(_, mode)| mode == "2").collect::<Vec<bool>>()
    };
    (of(true), of(false).contains(&true))
}

/// Each worker has, the control thread, which reads files and starts the process of an upgrade, has not; all goes on as without.
fn workers_alone_give_up_what_they_never_need(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2");
    let open = plan.clone().runtime("sandbox: off");
    let gateway = plan.start();
    gateway.notice(WHOLE);
    gateway.client().asks("/x").expects(200);
    assert_eq!(filtered(&gateway), (vec![true; 2], false));
    gateway.adopts(&open.yaml());
    let waits = gateway.notice("changed settings that take effect at the next start");
    assert!(waits.to_string().contains("runtime.sandbox"), "{waits}");
    gateway.client().asks("/x").expects(200);
    gateway.stop();
    let gateway = open.start();
    gateway.client().asks("/x").expects(200);
    assert_eq!(filtered(&gateway), (vec![false; 2], false));
    assert!(gateway.notices_of(WHOLE).is_empty());
    gateway.stop();
}

on_both_drivers![workers_alone_give_up_what_they_never_need];
