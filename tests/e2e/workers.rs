//! A6: as many workers as CPUs that the process may use, each kept to one of them.

use super::folder::Folder;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::process::{BINARY, program};
use super::wait::until_true;

/// The CPUs that this test may use.
fn cpus() -> Vec<usize> {
    core_affinity::get_core_ids().expect("an affinity mask").iter().map(|core| core.id).collect()
}

/// There is one worker, and the kernel runs it on this CPU alone.
fn has_one_worker_on(gateway: &Gateway, cpu: usize) {
    let status = gateway.status();
    let workers = status["workers"].as_array().expect("a list");
    assert_eq!((workers.len(), &workers[0]["cpu"]), (1, &cpu.into()), "{status}");
    until_true("its worker is pinned", || {
        let threads = gateway.process.threads("Cpus_allowed_list:");
        let workers: Vec<_> = threads.iter().filter(|(name, _)| name.starts_with("worker-")).collect();
        assert_eq!(workers.len(), 1, "{threads:?}");
        workers[0].1 == cpu.to_string()
    });
}

fn auto_is_one_worker_for_each_cpu_of_the_affinity_mask(io: Io) {
    let cpu = *cpus().last().expect("at least one");
    let folder = Folder::new();
    let file = folder.write("gateway.yaml", Plan::bare(io).workers("auto").yaml());
    let mut command = program("taskset");
    command.args(["-c", &cpu.to_string(), BINARY, "run", "-c"]).arg(file);
    let gateway = Gateway::start_with(folder, &mut command);
    has_one_worker_on(&gateway, cpu);
    gateway.stop();
}

fn a_worker_stays_on_the_cpu_that_is_listed_for_it(io: Io) {
    let cpus = cpus();
    let cpu = *cpus.last().expect("at least one");
    let gateway = Plan::bare(io).workers(&format!("[{cpu}]")).start();
    has_one_worker_on(&gateway, cpu);
    // What is not on the path of requests may run anywhere.
    let is_confined = gateway.process.threads("Cpus_allowed_list:").iter().all(|(_, cpus)| *cpus == cpu.to_string());
    assert_eq!(is_confined, cpus.len() == 1);
    gateway.stop();
}

on_both_drivers![auto_is_one_worker_for_each_cpu_of_the_affinity_mask, a_worker_stays_on_the_cpu_that_is_listed_for_it,];
