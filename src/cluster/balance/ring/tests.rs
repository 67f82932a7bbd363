use super::super::tests::Table;
use super::*;

const KEYS: u32 = 40_000;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("10.0.0.{number}:8080")).collect()
}

fn ring_of(names: &[String]) -> Ring {
    Ring::new(names.iter().map(|name| (name.as_bytes(), 1)))
}

fn key(number: u32) -> u32 {
    Ring::hash(format!("user-{number}").as_bytes())
}

fn first(ring: &Ring, key: u32) -> usize {
    ring.walk(key).next().unwrap()
}

/// How many of the keys go to each of the endpoints.
fn counts(ring: &Ring, table: &Table) -> Vec<u32> {
    let mut counts = vec![0; table.share.len()];
    for number in 0..KEYS {
        counts[ring.try_pick(key(number), table).unwrap()] += 1;
    }
    counts
}

#[test]
fn the_hash_is_crc32_with_its_bits_mixed() {
    // The check value of CRC-32/ISO-HDLC is 0xcbf43926.
    assert_eq!(Ring::hash(b"123456789"), mix(0xcbf4_3926));
    assert_eq!(mix(0), 0);
    assert_eq!(mix(1), 0x514e_28b7);
}

#[test]
fn five_endpoints_share_the_keys_within_a_quarter() {
    let sets = [
        names(5),
        (0..5).map(|number| format!("192.168.{number}.17:3000")).collect(),
        (0..5).map(|number| format!("127.0.0.1:{}", 9001 + number)).collect(),
        (0..5).map(|number| format!("[2001:db8::{number:x}]:443")).collect(),
        ["a:1", "b:1", "c:1", "d:1", "e:1"].map(str::to_owned).to_vec(),
    ];
    for names in sets {
        let counts = counts(&ring_of(&names), &Table::of_shares(&[1000; 5]));
        let even = KEYS / 5;
        assert!(counts.iter().all(|count| count.abs_diff(even) <= even / 4), "{names:?}: {counts:?}");
    }
}

#[test]
fn removing_an_endpoint_moves_its_keys_and_no_others() {
    let names = names(8);
    let whole = ring_of(&names);
    for gone in 0..8 {
        let mut left = names.clone();
        left.remove(gone);
        let smaller = ring_of(&left);
        let (mut moved, mut heirs) = (0_u32, [0; 8]);
        for number in 0..KEYS {
            let before = first(&whole, key(number));
            let after = first(&smaller, key(number));
            let after = if after < gone { after } else { after + 1 };
            if before == gone {
                moved += 1;
                heirs[after] += 1;
            } else {
                assert_eq!(before, after, "a key of another endpoint stays");
            }
        }
        assert!(moved.abs_diff(KEYS / 8) <= KEYS / 8 / 4, "{moved} of {KEYS} moved");
        assert!((0..8).all(|at| (at == gone) == (heirs[at] == 0)), "all others inherit: {heirs:?}");
    }
}

#[test]
fn the_order_of_the_endpoints_does_not_matter() {
    let names: Vec<_> = (0..819).map(|number| format!("10.1.{}.{}:80", number / 250, number % 250)).collect();
    let reversed: Vec<_> = names.iter().rev().cloned().collect();
    let (ring, other) = (ring_of(&names), ring_of(&reversed));
    let is_tie = |pair: &[Point]| pair[0].hash == pair[1].hash && pair[0].endpoint != pair[1].endpoint;
    assert!(ring.points.windows(2).any(is_tie), "some place is that of two endpoints");
    assert!(ring.walk(0).map(|at| &names[at]).eq(other.walk(0).map(|at| &reversed[at])));
}

#[test]
fn endpoints_with_neighbouring_hashes_share_no_points() {
    let names: Vec<_> = (0..16_384).map(|number| format!("10.0.{}.{}:80", number / 128, number % 128)).collect();
    let mut sorted: Vec<_> = names.iter().map(|name| (Ring::hash(name.as_bytes()), name)).collect();
    sorted.sort_unstable();
    let close: Vec<_> = sorted.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 40).collect();
    assert!(!close.is_empty());
    for pair in close {
        let ring = Ring::new(pair.iter().map(|(_, name)| (name.as_bytes(), 1)));
        assert!(ring.points.windows(2).all(|points| points[0].hash != points[1].hash), "{pair:?}");
    }
}

#[test]
fn keys_follow_weights() {
    let names = names(3);
    let ring = Ring::new(names.iter().map(String::as_bytes).zip([1, 2, 5]));
    assert_eq!(ring.points.len(), 8 * 160);
    let counts = counts(&ring, &Table::of_shares(&[1000, 2000, 5000]));
    for (count, weight) in counts.iter().zip([1, 2, 5]) {
        let due = KEYS * weight / 8;
        assert!(count.abs_diff(due) <= due / 4, "{counts:?}");
    }
}

#[test]
fn an_endpoint_of_weight_zero_has_no_place() {
    let ring = Ring::new([(b"a:1".as_slice(), 0), (b"b:1", 1), (b"c:1", 0)]);
    assert!((0..1000).all(|number| ring.walk(key(number)).all(|at| at == 1)));
    assert_eq!(Ring::new([]).walk(7).count(), 0);
    assert_eq!(Ring::new([]).try_pick(7, &Table::of_shares(&[1000])), None);
}

#[test]
fn keys_of_an_unfit_endpoint_spread_and_the_others_stay() {
    let ring = ring_of(&names(5));
    let mut table = Table::of_shares(&[1000; 5]);
    let before: Vec<_> = (0..KEYS).map(|number| ring.try_pick(key(number), &table).unwrap()).collect();
    table.share[2] = 0;
    let mut heirs = [0; 5];
    for (number, before) in (0..KEYS).zip(before) {
        let after = ring.try_pick(key(number), &table).unwrap();
        if before == 2 {
            heirs[after] += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    let even = heirs.iter().sum::<u32>() / 4;
    assert_eq!(heirs[2], 0);
    assert!([0, 1, 3, 4].iter().all(|at| heirs[*at].abs_diff(even) <= even / 2), "{heirs:?}");
}

#[test]
fn a_ramping_endpoint_takes_its_part_of_its_keys_always_the_same_and_ever_more() {
    let names = names(5);
    for weight in [1, 4] {
        let ring = Ring::new(names.iter().map(|name| (name.as_bytes(), weight)));
        let mut table = Table::of_shares(&[1000 * weight; 5]);
        let full = counts(&ring, &table)[3];
        let mut taken = vec![false; KEYS as usize];
        for thousandths in [100, 250, 500, 900] {
            table.share[3] = thousandths * weight;
            let mut count = 0;
            for number in 0..KEYS {
                let is_taken = ring.try_pick(key(number), &table) == Some(3);
                assert!(is_taken || !taken[number as usize], "what it has it keeps");
                taken[number as usize] = is_taken;
                count += u32::from(is_taken);
            }
            let due = full * thousandths / 1000;
            assert!(count.abs_diff(due) <= due / 10 + 20, "{count} of {full} at {thousandths} thousandths");
        }
    }
}

#[test]
fn a_lone_endpoint_at_full_share_is_not_buried_under_the_keys_of_many_ramping_ones() {
    let ring = ring_of(&names(200));
    let mut table = Table::of_shares(&[100; 200]);
    table.share[9] = 1000;
    let counts = counts(&ring, &table);
    assert!(counts[9] < KEYS / 2, "{} of {KEYS}", counts[9]);
    assert!(counts.iter().all(|count| *count > 0));
}

#[test]
fn keys_stay_where_they_belong_while_all_endpoints_ramp() {
    let ring = ring_of(&names(5));
    let table = Table::of_shares(&[1; 5]);
    let at_home = (0..1000).filter(|number| ring.try_pick(key(*number), &table) == Some(first(&ring, key(*number))));
    assert!(at_home.count() > 990);
}

#[test]
fn one_fit_endpoint_among_many_gets_every_key_and_none_gets_none() {
    let ring = ring_of(&names(200));
    let mut table = Table::of_shares(&[0; 200]);
    table.share[150] = 1;
    assert!((0..200).all(|number| ring.try_pick(key(number), &table) == Some(150)));
    table.share[150] = 0;
    let looks = table.looks();
    assert_eq!(ring.try_pick(key(1), &table), None);
    assert!(table.looks() - looks <= LOOKS + 200, "a cluster that is down is not searched point by point");
}

#[test]
fn a_ring_of_other_candidates_picks_none_that_is_not_there() {
    let ring = ring_of(&names(5));
    let table = Table::of_shares(&[1000; 2]);
    assert!((0..1000).all(|number| ring.try_pick(key(number), &table).is_some_and(|at| at < 2)));
}

#[test]
fn a_walk_passes_every_point_once_from_the_keys_place_on() {
    let ring = ring_of(&names(3));
    for hash in [0, 1, u32::MAX / 2, u32::MAX, ring.points[77].hash, ring.points[479].hash + 1] {
        assert_eq!(ring.walk(hash).count(), 480);
        let from = ring.points.iter().position(|point| point.hash >= hash).unwrap_or(0);
        let expected = (0..480).map(|step| ring.points[(from + step) % 480].endpoint as usize);
        assert!(ring.walk(hash).eq(expected));
    }
}

#[test]
fn the_number_of_points_is_bounded_and_crossing_the_bound_moves_few_keys() {
    let names: Vec<_> = (0..1000).map(|number| format!("10.1.{}.{}:80", number / 250, number % 250)).collect();
    for weight in [1, 1000, u32::MAX] {
        let ring = Ring::new(names.iter().map(|name| (name.as_bytes(), weight)));
        assert!((64_000..=131_072).contains(&ring.points.len()), "{} points", ring.points.len());
    }
    let uneven = Ring::new(names.iter().zip(0..).map(|(name, at)| (name.as_bytes(), if at == 0 { 1 } else { 1000 })));
    assert_eq!(uneven.points.iter().filter(|point| point.endpoint == 0).count(), 1, "every weight has a point");
    let (below, above) = (ring_of(&names[..819]), ring_of(&names[..820]));
    assert_eq!((below.points.len(), above.points.len()), (819 * 160, 820 * 80));
    let moved = (0..KEYS).filter(|number| first(&below, key(*number)) != first(&above, key(*number))).count();
    assert!(moved < KEYS as usize * 6 / 10, "{moved}: about half the points are left and half the keys stay");
}
