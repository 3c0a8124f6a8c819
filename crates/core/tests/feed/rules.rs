//! The rules that hold for every seed, and the proof that each part is needed.
//!
//! `GATEKEY_FEED_SEEDS` sets how many seeds each rule runs with.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    database::Sabotage,
    world::{Faults, Plan, World},
};

/// The seeds of a rule, unless the environment sets another number.
const SEEDS: u64 = 200;

#[expect(clippy::disallowed_methods, reason = "a test takes its number of runs from there")]
fn seeds() -> u64 {
    let seeds = env::var("GATEKEY_FEED_SEEDS").ok();
    seeds.map_or(SEEDS, |seeds| seeds.parse().expect("GATEKEY_FEED_SEEDS is a number"))
}

fn run(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.run();
    world
}

/// What the runs of a rule did, in total.
#[derive(Debug, Default)]
struct Total {
    accepted: u64,
    refused: u64,
    unavailable: u64,
    repairs: u64,
    failovers: u64,
    lost: u64,
    latest: u64,
}

/// A seed that breaks a rule whose text contains `rule`.
fn find_broken(
    faults: Faults,
    sabotage: Sabotage,
    rule: &str,
    seeds: u64,
) -> (Option<Plan>, Total) {
    let is_found = AtomicBool::new(false);
    let search = |first: u64| {
        let mut total = Total::default();
        for seed in (first..seeds).step_by(2) {
            if is_found.load(Ordering::Relaxed) {
                break;
            }
            let plan = Plan { seed, faults, sabotage, logs: false };
            let world = run(plan);
            total.accepted += world.clients.accepted;
            total.refused += world.clients.refused;
            total.unavailable += world.clients.unavailable;
            total.repairs += world.repairs;
            total.failovers += world.failovers;
            total.lost += world.lost;
            total.latest = total.latest.max(world.clients.latest);
            if world.broken.is_some_and(|broken| broken.contains(rule)) {
                is_found.store(true, Ordering::Relaxed);
                return (Some(plan), total);
            }
        }
        (None, total)
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| search(1));
        let (broken, mut total) = search(0);
        let (other_broken, other) = other.join().unwrap();
        total.accepted += other.accepted;
        total.refused += other.refused;
        total.unavailable += other.unavailable;
        total.repairs += other.repairs;
        total.failovers += other.failovers;
        total.lost += other.lost;
        total.latest = total.latest.max(other.latest);
        (broken.or(other_broken), total)
    })
}

/// Runs all seeds, and prints the history of one that breaks a rule.
fn check(faults: Faults) -> Total {
    let (broken, total) = find_broken(faults, Sabotage::default(), "", seeds());
    if let Some(plan) = broken {
        let world = run(Plan { logs: true, ..plan });
        let from = world.log.len().saturating_sub(400);
        panic!("seed {}: {:?}\n{}", plan.seed, world.broken, world.log[from..].join("\n"));
    }
    total
}

#[test]
fn a_healthy_revocation_takes_at_most_a_second() {
    let total = check(Faults::None);
    assert_eq!((total.unavailable, total.repairs, total.lost), (0, 0, 0));
}

#[test]
fn no_fault_extends_a_revoked_credential() {
    let total = check(Faults::Strict);
    assert!(total.failovers > 0 && total.accepted > 1000, "{total:?}");
}

#[test]
fn a_lost_history_is_repaired() {
    let total = check(Faults::Lossy);
    assert!(total.repairs > 0, "{total:?}");
}

#[test]
fn a_seed_has_one_history() {
    for faults in [Faults::Strict, Faults::Lossy] {
        for seed in 0..5 {
            let plan = Plan { seed, faults, logs: true, ..Plan::default() };
            let (first, second) = (run(plan), run(plan));
            assert!(first.log.len() > 300);
            assert_eq!(first.log, second.log);
        }
    }
}

/// Checks that the checker notices what is left out, by the rule that it is there for.
fn is_noticed(faults: Faults, sabotage: Sabotage, rule: &str) {
    let (broken, total) = find_broken(faults, sabotage, rule, seeds().max(2000));
    assert!(broken.is_some(), "{sabotage:?}: {total:?}");
}

const ACCEPTED: &str = "after its revocation";
const ACCEPTED_IN_THE_END: &str = "accepted in the end";
const REFUSED: &str = "refused although it is valid";

#[test]
fn without_the_lock_changes_are_missed() {
    let sabotage = Sabotage::Lock;
    is_noticed(Faults::None, sabotage, REFUSED);
}

#[test]
fn without_beats_a_former_primary_is_believed() {
    let sabotage = Sabotage::Beats;
    is_noticed(Faults::Strict, sabotage, ACCEPTED);
}

#[test]
fn one_beat_is_not_enough() {
    let sabotage = Sabotage::SecondBeat;
    assert_eq!(find_broken(Faults::StalledBeat, Sabotage::default(), "", 20).0, None);
    is_noticed(Faults::StalledBeat, sabotage, ACCEPTED);
}

#[test]
fn without_tags_a_lost_history_is_missed() {
    let sabotage = Sabotage::Tags;
    is_noticed(Faults::Lossy, sabotage, ACCEPTED_IN_THE_END);
}

#[test]
fn without_a_catch_up_new_keys_are_refused() {
    let sabotage = Sabotage::CatchUp;
    is_noticed(Faults::None, sabotage, REFUSED);
}

#[test]
fn a_late_catch_up_must_not_refuse() {
    let sabotage = Sabotage::CatchUpInTime;
    is_noticed(Faults::Strict, sabotage, REFUSED);
}
