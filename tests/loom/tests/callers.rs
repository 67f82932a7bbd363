//! One entry a client, and every connection counted once, whoever comes and goes at the same time.

use ringgate_loom::callers::{Clients, Entered};

use crate::meet;

const ME: u64 = 1;
const OTHER: u64 = 2;
const THIRD: u64 = 3;

/// A table in which these have a connection each, entered in this order.
fn with(clients: &[u64]) -> (Clients, Vec<Entered>) {
    let table = Clients::new();
    let entered = clients.iter().map(|client| table.enter(*client, 9)).collect();
    (table, entered)
}

const fn is_counted(entered: Entered) -> bool {
    matches!(entered, Entered::Counted(_))
}

/// After these have left too, nobody is counted any more.
fn all_leave(table: &Clients, entered: &[Entered]) {
    entered.iter().for_each(|entered| table.leave(*entered));
    for client in [ME, OTHER, THIRD] {
        assert_eq!(table.counts(client), [], "{client}");
    }
}

#[test]
fn of_two_first_connections_of_a_client_that_may_have_one_one_is_let_in() {
    let party: fn(&Clients) -> Entered = |table| table.enter(ME, 1);
    meet(3, Clients::new, [party, party], |table, entered| {
        assert!(entered.contains(&Entered::Refused) && is_counted(entered[0]) != is_counted(entered[1]), "{entered:?}");
        assert_eq!(table.counts(ME), [1]);
        all_leave(table, &entered);
    });
}

#[test]
fn two_first_connections_of_a_client_share_one_entry() {
    let party: fn(&Clients) -> Entered = |table| table.enter(ME, 2);
    meet(3, Clients::new, [party, party], |table, entered| {
        assert!(is_counted(entered[0]) && entered[0] == entered[1], "{entered:?}");
        assert_eq!((table.counts(ME), table.enter(ME, 2)), (vec![2], Entered::Refused));
        all_leave(table, &entered);
    });
}

#[test]
fn two_clients_that_come_at_once_are_both_counted() {
    let parties: [fn(&Clients) -> Entered; 2] = [|table| table.enter(ME, 1), |table| table.enter(OTHER, 1)];
    meet(3, Clients::new, parties, |table, entered| {
        assert!(is_counted(entered[0]) && is_counted(entered[1]) && entered[0] != entered[1], "{entered:?}");
        assert_eq!((table.counts(ME), table.counts(OTHER)), (vec![1], vec![1]));
        all_leave(table, &entered);
    });
}

#[test]
fn a_client_that_comes_as_its_last_connection_goes_is_counted_once() {
    let parties: [fn(&(Clients, Vec<Entered>)) -> Entered; 2] = [
        |(table, entered)| {
            table.leave(entered[0]);
            Entered::Untracked
        },
        |(table, _)| table.enter(ME, 2),
    ];
    meet(
        3,
        || with(&[ME]),
        parties,
        |(table, _), entered| {
            assert!(is_counted(entered[1]), "{entered:?}");
            assert_eq!(table.counts(ME), [1]);
            all_leave(table, &entered);
        },
    );
}

#[test]
fn an_entry_that_becomes_anothers_counts_nothing_of_its_former_client() {
    let parties: [fn(&(Clients, Vec<Entered>)) -> Entered; 2] = [
        |(table, entered)| {
            table.leave(entered[0]);
            table.enter(OTHER, 1)
        },
        |(table, _)| table.enter(ME, 2),
    ];
    meet(
        3,
        || with(&[ME]),
        parties,
        |(table, _), entered| {
            assert!(is_counted(entered[0]) && is_counted(entered[1]), "{entered:?}");
            assert_eq!((table.counts(ME), table.counts(OTHER)), (vec![1], vec![1]));
            all_leave(table, &entered);
        },
    );
}

#[test]
fn in_a_full_set_a_client_is_counted_only_once_another_has_gone() {
    let parties: [fn(&(Clients, Vec<Entered>)) -> Entered; 2] = [
        |(table, entered)| {
            table.leave(entered[0]);
            Entered::Untracked
        },
        |(table, _)| table.enter(THIRD, 1),
    ];
    meet(
        3,
        || with(&[ME, OTHER]),
        parties,
        |(table, before), entered| {
            let third = if is_counted(entered[1]) { vec![1] } else { Vec::new() };
            assert_ne!(entered[1], Entered::Refused);
            assert_eq!((table.counts(ME), table.counts(OTHER), table.counts(THIRD)), (vec![], vec![1], third));
            all_leave(table, &[before[1], entered[1]]);
        },
    );
}

#[test]
fn three_who_come_and_go_at_once_leave_nothing_behind() {
    let comes_and_goes: fn(&Clients) -> Entered = |table| {
        let entered = table.enter(ME, 1);
        table.leave(entered);
        entered
    };
    let parties = [comes_and_goes, comes_and_goes, |table: &Clients| table.enter(OTHER, 1)];
    meet(2, Clients::new, parties, |table, entered| {
        assert_eq!(table.counts(ME), []);
        assert_eq!(table.counts(OTHER).len(), usize::from(is_counted(entered[2])), "{entered:?}");
        all_leave(table, &entered[2..]);
    });
}
