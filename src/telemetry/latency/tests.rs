use super::*;

const SHARES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];

fn read(worker: &Latencies, series: LatencySeries) -> Spread {
    Spread::read(std::iter::once(worker), series, &Spread::default())
}

#[test]
fn buckets_follow_one_another_and_none_is_wider_than_a_32nd() {
    for bucket in 0..LATENCY_BUCKETS {
        let (from, to) = (latency_bound_ns(bucket), latency_bound_ns(bucket + 1));
        assert!(from < to, "{bucket}");
        assert_eq!((bucket_of(from), bucket_of(to - 1)), (bucket, bucket));
        assert!(bucket < SUB_BUCKETS || (to - from) * 32 <= from, "{bucket}: {from} to {to}");
    }
    assert_eq!(bucket_of(u64::MAX), LATENCY_BUCKETS - 1);
    assert!(latency_bound_ns(LATENCY_BUCKETS) > 73 * 60 * 1_000_000_000);
}

#[test]
fn quantiles_are_at_most_a_32nd_above_the_exact_ones() {
    // Numbers without an order, the same in every run (xorshift).
    let mut state = 7_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let worker = Latencies::default();
    let mut exact: Vec<u64> = (0..100_000).map(|_| 40_000 + (next() >> (24 + next() % 36))).collect();
    for ns in &exact {
        worker.observe(Some(0), None, *ns);
    }
    exact.sort_unstable();
    let spread = read(&worker, LatencySeries::Route(0));
    assert_eq!(spread.count(), 100_000);
    for share in SHARES {
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a place in the list")]
        let true_ns = exact[(share * 100_000.0).ceil() as usize - 1];
        let told_ns = spread.quantile_ns(share);
        assert!(told_ns > true_ns && told_ns <= true_ns + true_ns / 32 + 1024, "{share}: {told_ns}, not {true_ns}");
    }
    let longest = *exact.last().unwrap();
    assert!(spread.max_ns() > longest && spread.max_ns() <= longest + longest / 32 + 1024);
    assert_eq!(spread.quantile_ns(1.0), spread.max_ns());
}

#[test]
fn nothing_has_no_quantiles_and_one_exchange_has_all_of_them() {
    let worker = Latencies::default();
    assert_eq!(SHARES.map(|share| read(&worker, LatencySeries::All).quantile_ns(share)), [0; 5]);
    worker.observe(None, None, 5 << UNIT_BITS);
    assert_eq!(SHARES.map(|share| read(&worker, LatencySeries::All).quantile_ns(share)), [6 << UNIT_BITS; 5]);
}

#[test]
fn every_exchange_is_in_all_in_its_route_and_in_its_cluster() {
    let worker = Latencies::default();
    worker.observe(Some(3), Some(1), 10_000);
    worker.observe(Some(3), None, 20_000);
    worker.observe(None, Some(CLUSTER_SERIES + 9), 30_000);
    worker.observe(Some(usize::MAX), Some(0), 40_000);
    let counts = [
        LatencySeries::All,
        LatencySeries::Route(3),
        LatencySeries::Route(ROUTE_SERIES),
        LatencySeries::Cluster(0),
        LatencySeries::Cluster(1),
        LatencySeries::Cluster(CLUSTER_SERIES),
    ]
    .map(|series| (worker.count(series), read(&worker, series).count()));
    assert_eq!(counts, [(4, 4), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1)]);
}

#[test]
fn no_two_series_share_a_place() {
    let routes = (0..=ROUTE_SERIES).map(LatencySeries::Route);
    let clusters = (0..=CLUSTER_SERIES).map(LatencySeries::Cluster);
    let places: Vec<usize> =
        std::iter::once(LatencySeries::All).chain(routes).chain(clusters).map(LatencySeries::index).collect();
    assert_eq!(places, (0..LATENCY_SERIES).collect::<Vec<_>>());
}

#[test]
fn a_reading_sums_the_workers_and_goes_on_where_cells_wrap() {
    let workers = [Latencies::default(), Latencies::default()];
    let bucket = bucket_of(50_000);
    let place = |ns| u16::try_from(bucket_of(ns)).unwrap();
    workers[0].observe(Some(0), None, 50_000);
    workers[0].cells[bucket].store(u32::MAX - 1, Ordering::Relaxed);
    workers[1].observe(Some(0), None, 90_000);
    let before = Spread::read(workers.iter(), LatencySeries::All, &Spread::default());
    assert_eq!(before.count(), u64::from(u32::MAX));
    for _ in 0..3 {
        workers[0].observe(Some(0), None, 50_000);
    }
    workers[1].observe(Some(0), None, 9_000_000);
    let now = Spread::read(workers.iter(), LatencySeries::All, &before);
    assert_eq!(now.count(), u64::from(u32::MAX) + 4);
    assert_eq!(now.since(&before).0, [(place(50_000), 3), (place(9_000_000), 1)]);
    assert_eq!(now.since(&now), Spread::default());
    assert_eq!(now.since(&Spread::default()), now);
}

#[test]
fn rows_are_sums_of_neighbours() {
    let worker = Latencies::default();
    for bucket in [0, 7, 8, 100, 103, 104] {
        worker.observe(None, None, latency_bound_ns(bucket));
    }
    assert_eq!(read(&worker, LatencySeries::All).rows(8), [(0, 2), (1, 1), (12, 2), (13, 1)]);
}
