//! What goes wrong in a run, and how it is healed.

use crate::world::{Event, Faults, HEALED, MS, Micros, SECOND, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The primary and the standby lose each other; the nodes still reach both.
    Partition,
    Promote,
    /// The processes of the primary stall before what they committed becomes visible.
    Stall {
        until: Micros,
    },
    /// A node connects to the other server.
    Move(usize),
    /// The failover manager reaches the former primary, and stops it.
    Demote,
    /// The former primary comes back as the standby.
    Rejoin,
    /// The primary's processes end, and start again.
    Crash,
    Restart,
    /// A node is stopped (SIGSTOP), and goes on.
    Stop(usize),
    Continue(usize),
    /// A node's machine is suspended. One of its clocks hides it.
    Suspend {
        node: usize,
        hides_boot: bool,
        until: Micros,
    },
    /// A node's wall clock is set.
    Step {
        node: usize,
        micros: i64,
    },
    /// Everything works again.
    Heal,
}

/// Draws the faults of a run.
pub(crate) fn schedule(world: &mut World) {
    let latest = HEALED - 15 * SECOND;
    for _ in 0..=world.random.below(2) {
        let at = world.random.between(3 * SECOND, latest);
        let node = world.random.index(world.nodes.len());
        match world.random.below(6) {
            0 => {
                let until = at + world.random.between(100 * MS, 12 * SECOND);
                world.at(at, Event::Fault(Fault::Stop(node)));
                world.at(until, Event::Fault(Fault::Continue(node)));
            }
            1 => {
                let until = at + world.random.between(100 * MS, 12 * SECOND);
                let hides_boot = world.random.chance(50);
                world.at(at, Event::Fault(Fault::Suspend { node, hides_boot, until }));
            }
            2 => {
                let most = if world.random.chance(50) { 3_000_000 } else { 3_600_000_000 };
                let micros = world.random.below(most).cast_signed();
                let micros = if world.random.chance(50) { -micros } else { micros };
                let until = at + world.random.between(SECOND, 8 * SECOND);
                world.at(at, Event::Fault(Fault::Step { node, micros }));
                world.at(until, Event::Fault(Fault::Step { node, micros: -micros }));
            }
            3 => {
                let until = at + world.random.between(100 * MS, 3 * SECOND);
                world.at(at, Event::Fault(Fault::Crash));
                world.at(until, Event::Fault(Fault::Restart));
            }
            _ => failover(world, at),
        }
    }
    if world.plan.faults == Faults::Lossy || world.random.chance(50) {
        let at = world.random.between(3 * SECOND, latest);
        failover(world, at);
    }
    world.at(HEALED, Event::Fault(Fault::Heal));
}

fn failover(world: &mut World, at: Micros) {
    let early = world.random.chance(40);
    world.clients.early_failover |= early;
    let promote = if early {
        world.random.between(50 * MS, 3 * SECOND)
    } else {
        world.random.between(4200 * MS, 9 * SECOND)
    };
    let demote = promote + world.random.between(0, 20 * SECOND);
    let rejoin = demote + world.random.between(200 * MS, 4 * SECOND);
    for (after, fault) in [
        (0, Fault::Partition),
        (promote, Fault::Promote),
        (demote, Fault::Demote),
        (rejoin, Fault::Rejoin),
    ] {
        world.at(at + after, Event::Fault(fault));
    }
    if world.random.chance(50) {
        // What is replicated by now becomes visible only after the promotion.
        let until = at + promote + world.random.between(100 * MS, 4 * SECOND);
        world.at(at.saturating_sub(700 * MS), Event::Fault(Fault::Stall { until }));
    }
    for node in 0..world.nodes.len() {
        if world.random.chance(50) {
            let after = promote + world.random.between(MS, SECOND);
            world.at(at + after, Event::Fault(Fault::Move(node)));
        }
    }
}

/// The first node stays with the former primary, the others go to the new one.
pub(crate) fn stall_a_beat(world: &mut World) {
    let at = 5 * SECOND;
    let mut plan = vec![
        (at - 700 * MS, Fault::Stall { until: at + 3500 * MS }),
        (at, Fault::Partition),
        (at + 100 * MS, Fault::Promote),
        (at + 15 * SECOND, Fault::Demote),
        (at + 16 * SECOND, Fault::Rejoin),
        (HEALED, Fault::Heal),
    ];
    plan.extend((1..world.nodes.len()).map(|node| (at + 150 * MS, Fault::Move(node))));
    for (at, fault) in plan {
        world.at(at, Event::Fault(fault));
    }
    world.clients.early_failover = true;
}

fn new_run(world: &mut World) -> u64 {
    world.runs += 1;
    world.runs
}

/// The server that took over last, or the only one.
fn primary(world: &World) -> usize {
    let runs = |place: &usize| {
        let server = &world.servers[*place];
        (server.is_primary, server.run)
    };
    (0..2).max_by_key(runs).unwrap_or_default()
}

pub(crate) fn happen(world: &mut World, fault: Fault) {
    if world.is_healed() && fault != Fault::Heal && !matches!(fault, Fault::Continue(_)) {
        return;
    }
    world.note(|| format!("FAULT {fault:?}"));
    let (first, second) = (primary(world), 1 - primary(world));
    match fault {
        Fault::Partition => {
            world.is_linked = false;
            world.servers[first].has_another_standby = false;
        }
        Fault::Promote => {
            let (old, new) = (&world.servers[first], &world.servers[second]);
            // Of several standbys, the one with the most is promoted.
            let has_all = !world.strict || new.written() >= old.acknowledged;
            if !world.is_linked && !new.is_primary && new.is_alive && has_all {
                let run = new_run(world);
                world.failovers += 1;
                world.clients.lossy |= !world.strict;
                world.servers[second].start(run, true);
                world.servers[second].has_another_standby = true;
                world.after(MS, Event::Replicate { server: second, run });
            }
        }
        Fault::Stall { until } => world.stalled_until[first] = until,
        Fault::Move(node) => world.nodes[node].server = first,
        Fault::Demote => {
            if world.servers[second].is_primary {
                world.servers[second].is_alive = false;
                world.servers[second].is_primary = false;
            }
        }
        Fault::Rejoin => rejoin(world, first, second),
        Fault::Crash => world.servers[first].is_alive = false,
        Fault::Restart => restart(world, first),
        Fault::Stop(node) => world.nodes[node].stopped = true,
        Fault::Continue(node) => go_on(world, node),
        Fault::Suspend { node, hides_boot, until } => {
            world.nodes[node].stopped = true;
            if hides_boot {
                world.nodes[node].boot_behind += until - world.now;
            }
            world.at(until, Event::Fault(Fault::Continue(node)));
        }
        Fault::Step { node, micros } => world.nodes[node].wall_ahead += micros,
        Fault::Heal => {
            for node in 0..world.nodes.len() {
                world.nodes[node].wall_ahead = 0;
                go_on(world, node);
            }
            if !world.servers[first].is_alive {
                restart(world, first);
            }
            rejoin(world, first, second);
        }
    }
}

fn restart(world: &mut World, place: usize) {
    if !world.servers[place].is_alive && world.servers[place].is_primary {
        let run = new_run(world);
        world.servers[place].start(run, true);
        world.servers[place].is_alive = true;
        world.after(MS, Event::Replicate { server: place, run });
    }
}

fn rejoin(world: &mut World, first: usize, second: usize) {
    world.is_linked = true;
    if !world.servers[second].is_alive || world.servers[second].is_primary {
        let run = new_run(world);
        let (low, high) = world.servers.split_at_mut(1);
        let (low, high) = (&mut low[0], &mut high[0]);
        if first == 0 { high.rejoin(run, low) } else { low.rejoin(run, high) }
    }
    let run = world.servers[first].run;
    world.after(MS, Event::Replicate { server: first, run });
}

fn go_on(world: &mut World, node: usize) {
    if !std::mem::take(&mut world.nodes[node].stopped) {
        return;
    }
    for event in std::mem::take(&mut world.nodes[node].inbox) {
        world.after(0, event);
    }
}
