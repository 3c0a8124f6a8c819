//! The scheduler: nodes, servers and the network between them, with faults, all from one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    time::Duration,
};

use gatekey_core::feed::{Answer, Found, Ignored, Outcome, Position, Question};

use crate::{
    checker::{self, Clients},
    database::{Sabotage, Server, Transaction, Work},
    faults::{self, Fault},
    node::{Credential, Decision, Node, Pending},
    random::Random,
};

/// True time since the start, in microseconds.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1000;
pub(crate) const SECOND: Micros = 1_000_000;
/// When faults end.
pub(crate) const HEALED: Micros = 30 * SECOND;
/// When the run ends.
pub(crate) const END: Micros = 45 * SECOND;
/// When a poll or a change without an answer is given up.
const TIMEOUT: Micros = SECOND;

/// What a run does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    pub(crate) sabotage: Sabotage,
    /// Whether to keep the history.
    pub(crate) logs: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Faults {
    #[default]
    None,
    /// Everything, with a standby that must acknowledge each commit.
    Strict,
    /// The same, and a failover can lose acknowledged changes.
    Lossy,
    /// A failover while a beat is replicated, but not yet visible.
    StalledBeat,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A node may send a poll.
    Tick(usize),
    Ask {
        server: usize,
        node: usize,
        question: Question,
    },
    Answered {
        node: usize,
        number: u64,
        server: usize,
        answer: Box<Answer>,
    },
    PollTimedOut {
        node: usize,
        number: u64,
    },
    Begin {
        server: usize,
        node: usize,
        number: u64,
        work: Box<Work>,
    },
    Commit {
        server: usize,
        run: u64,
        number: u64,
    },
    Abort {
        server: usize,
        run: u64,
        number: u64,
    },
    Replicate {
        server: usize,
        run: u64,
    },
    Acknowledge {
        server: usize,
        run: u64,
        length: usize,
    },
    Show {
        server: usize,
        run: u64,
        number: u64,
    },
    Committed {
        node: usize,
        number: u64,
        position: Option<Position>,
    },
    ChangeTimedOut {
        number: u64,
    },
    Operate,
    Present,
    PresentTo {
        node: usize,
        client: usize,
    },
    Request {
        node: usize,
        credential: Credential,
        came: Micros,
    },
    Deadline {
        node: usize,
    },
    Fault(Fault),
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Micros,
    pub(crate) random: Random,
    events: BinaryHeap<Reverse<(Micros, u64)>>,
    queued: BTreeMap<u64, Event>,
    number: u64,
    pub(crate) servers: [Server; 2],
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Clients,
    /// The changes in progress, by the number of their transaction.
    changes: BTreeMap<u64, usize>,
    pub(crate) strict: bool,
    /// Whether the servers reach each other.
    pub(crate) is_linked: bool,
    pub(crate) pooler: bool,
    loss: u64,
    slow: u64,
    /// Until when commits of each server stay invisible.
    pub(crate) stalled_until: [Micros; 2],
    pub(crate) runs: u64,
    pub(crate) repairs: u64,
    pub(crate) failovers: u64,
    pub(crate) lost: u64,
    pub(crate) log: Vec<String>,
    pub(crate) broken: Option<String>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let faulty = matches!(plan.faults, Faults::Strict | Faults::Lossy);
        let nodes = 2 + random.index(2);
        let mut world = Self {
            plan,
            now: 0,
            events: BinaryHeap::new(),
            queued: BTreeMap::new(),
            number: 0,
            servers: [Server::new(1, true), Server::new(2, false)],
            nodes: (0..nodes).map(|_| Node::new()).collect(),
            clients: Clients::new(6),
            changes: BTreeMap::new(),
            strict: plan.faults != Faults::Lossy,
            is_linked: true,
            pooler: faulty && random.chance(30),
            loss: if faulty && random.chance(50) { random.below(8) } else { 0 },
            slow: if faulty && random.chance(50) { random.below(10) } else { 0 },
            stalled_until: [0; 2],
            runs: 2,
            repairs: 0,
            failovers: 0,
            lost: 0,
            log: Vec::new(),
            broken: None,
            random,
        };
        for node in 0..nodes {
            let at = world.random.below(200 * MS);
            world.at(at, Event::Tick(node));
        }
        world.at(2500 * MS, Event::Operate);
        world.at(3 * SECOND, Event::Present);
        match plan.faults {
            Faults::None => {}
            Faults::Strict | Faults::Lossy => faults::schedule(&mut world),
            Faults::StalledBeat => faults::stall_a_beat(&mut world),
        }
        world
    }

    /// Runs to the end, or until a rule is broken.
    pub(crate) fn run(&mut self) {
        while self.broken.is_none()
            && let Some(Reverse((at, number))) = self.events.pop()
        {
            if at > END {
                break;
            }
            self.now = at;
            if let Some(event) = self.queued.remove(&number) {
                self.handle(event);
            }
        }
        if self.broken.is_none() {
            self.check_end();
        }
    }

    fn check_end(&mut self) {
        let may_lack = self.repairs > 0 || self.clients.lossy;
        for (place, node) in self.nodes.iter().enumerate() {
            node.set_clock(self.now);
            let decide = |credential: &Credential| node.decide(credential);
            let checked = self.clients.check_end(decide, may_lack);
            if let Err(broken) = checked {
                self.broken = Some(format!("node {place}: {broken}"));
                return;
            }
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.plan.logs {
            self.log.push(format!("{:>6}.{:03} ms  {}", self.now / MS, self.now % MS, line()));
        }
    }

    pub(crate) fn after(&mut self, delay: Micros, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, at: Micros, event: Event) {
        self.number += 1;
        self.events.push(Reverse((at, self.number)));
        self.queued.insert(self.number, event);
    }

    pub(crate) fn is_healed(&self) -> bool {
        self.now >= HEALED
    }

    /// Sends a message between machines: late, out of order or not at all.
    fn send(&mut self, event: Event) {
        let delay = self.random.between(200, 2 * MS);
        if self.is_healed() {
            return self.after(delay, event);
        }
        if self.random.chance(self.loss) {
            return self.note(|| format!("lost {event:?}"));
        }
        let late = if self.random.chance(self.slow) { self.random.below(1500 * MS) } else { 0 };
        self.after(delay + late, event);
    }

    /// The nodes that receive an event while they are stopped find it later.
    fn recipient(event: &Event) -> Option<usize> {
        match event {
            Event::Tick(node)
            | Event::Answered { node, .. }
            | Event::PollTimedOut { node, .. }
            | Event::Committed { node, .. }
            | Event::Request { node, .. }
            | Event::Deadline { node } => Some(*node),
            _ => None,
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(node) = Self::recipient(&event) {
            if self.nodes[node].stopped {
                self.nodes[node].inbox.push(event);
                return;
            }
            self.nodes[node].set_clock(self.now);
        }
        match event {
            Event::Tick(node) => self.tick(node),
            Event::Ask { server, node, question } => self.ask(server, node, &question),
            Event::Answered { node, number, server, answer } => {
                self.answered(node, number, server, *answer);
            }
            Event::PollTimedOut { node, number } => {
                self.nodes[node].catch_up.ended(number, false);
                self.tick(node);
            }
            Event::Begin { server, node, number, work } => {
                self.begin(server, Server::transaction(node, number, *work));
            }
            Event::Commit { server, run, number } => self.commit(server, run, number),
            Event::Abort { server, run, number } => {
                if self.servers[server].run == run {
                    let (_, next) = self.servers[server].abort(number);
                    self.schedule_commit(server, next);
                }
            }
            Event::Replicate { server, run } => self.replicate(server, run),
            Event::Acknowledge { server, run, length } => {
                if self.servers[server].run == run {
                    let known = self.servers[server].acknowledged;
                    self.servers[server].acknowledged = known.max(length);
                    self.show_replicated(server);
                }
            }
            Event::Show { server, run, number } => self.show(server, run, number),
            Event::Committed { node, number, position } => self.committed(node, number, position),
            Event::ChangeTimedOut { number } => {
                if let Some(client) = self.changes.remove(&number) {
                    self.clients.give_up(client);
                }
            }
            Event::Operate => self.operate(),
            Event::Present => {
                let node = self.random.index(self.nodes.len());
                let client = self.random.index(self.clients.count());
                self.present(node, client);
                let delay = self.random.between(20 * MS, 200 * MS);
                self.after(delay, Event::Present);
            }
            Event::PresentTo { node, client } => self.present(node, client),
            Event::Request { node, credential, came } => self.request(node, credential, came),
            Event::Deadline { node } => self.decide_pending(node),
            Event::Fault(fault) => faults::happen(self, fault),
        }
    }

    fn tick(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let now = node.now();
        let Some(due) = node.catch_up.next() else { return };
        if due > now.since_boot {
            let wait =
                u64::try_from(due.saturating_sub(now.since_boot).as_micros()).unwrap_or_default();
            return self.after(wait, Event::Tick(place));
        }
        let question = node.feed.ask(now);
        node.catch_up.sent(question.number, now.since_boot);
        let server = self.route(place);
        self.send(Event::Ask { server, node: place, question });
        self.after(TIMEOUT, Event::PollTimedOut { node: place, number: question.number });
    }

    /// The server that a message of a node reaches.
    fn route(&mut self, node: usize) -> usize {
        let is_up = |server: &Server| server.is_alive && server.is_primary;
        let primaries: Vec<_> = (0..2).filter(|place| is_up(&self.servers[*place])).collect();
        let present = self.nodes[node].server;
        let server = if primaries.is_empty() {
            present
        } else if self.pooler && !self.is_healed() {
            // A pooler can reach any server that was a primary, and a wrong entry a standby.
            if self.random.chance(5) {
                self.random.index(2)
            } else {
                primaries[self.random.index(primaries.len())]
            }
        } else if !primaries.contains(&present) {
            primaries[0]
        } else {
            present
        };
        self.nodes[node].server = server;
        server
    }

    fn ask(&mut self, server: usize, node: usize, question: &Question) {
        if !self.servers[server].is_alive {
            return;
        }
        let answer = self.servers[server].answer(question, self.now, self.plan.sabotage);
        let (number, answer) = (question.number, Box::new(answer));
        self.send(Event::Answered { node, number, server, answer });
    }

    fn answered(&mut self, place: usize, number: u64, server: usize, answer: Answer) {
        let head = answer.head;
        let rows = match &answer.found {
            Found::Changes { rows, .. } => {
                Some(rows.iter().map(|row| row.position).collect::<Vec<_>>())
            }
            Found::All { .. } => None,
        };
        let outcome = self.nodes[place].apply(number, answer);
        self.note(|| {
            format!("node {place} poll {number} of server {server} at {head}: {}", Brief(&outcome))
        });
        let node = &mut self.nodes[place];
        let (is_complete, beat) = match &outcome {
            Outcome::Ignored(Ignored::Superseded) => return,
            Outcome::Applied { has_more, beat, .. } => (!has_more, *beat),
            Outcome::Lost { lost, may_repair, beat } => {
                let is_tried = node.repair.is_some_and(|(_, until)| self.now < until);
                if *may_repair && !is_tried {
                    let work = Work::Repair { lost: *lost, revoked: node.revoked.keys() };
                    let number = self.transact(server, place, work);
                    self.nodes[place].repair = Some((number, self.now + TIMEOUT));
                }
                self.lost += 1;
                (false, *beat)
            }
            Outcome::Reload | Outcome::Ignored(Ignored::Standby) => (false, None),
        };
        let node = &mut self.nodes[place];
        node.catch_up.ended(number, is_complete);
        if let Some(from) = beat {
            let from = if self.plan.sabotage == Sabotage::SecondBeat { from / 2 } else { from };
            self.transact(server, place, Work::Beat { from });
        }
        match (&outcome, rows) {
            (Outcome::Applied { .. }, Some(rows)) => self.answer_changes(place, &rows),
            (Outcome::Applied { .. }, None) | (Outcome::Lost { .. }, _) => self.drop_changes(place),
            _ => {}
        }
        self.decide_pending(place);
        let more = matches!(outcome, Outcome::Applied { has_more: true, .. } | Outcome::Reload);
        if more {
            // At once, and not at the next interval.
            self.nodes[place].catch_up.request(Duration::ZERO);
        }
        self.tick(place);
    }

    /// Starts a transaction of a node.
    fn transact(&mut self, server: usize, node: usize, work: Work) -> u64 {
        self.number += 1;
        let number = self.number;
        self.note(|| format!("node {node} sends {work:?} as {number} to server {server}"));
        self.send(Event::Begin { server, node, number, work: Box::new(work) });
        number
    }

    fn begin(&mut self, server: usize, transaction: Transaction) {
        if self.servers[server].is_alive && self.servers[server].is_primary {
            let next = self.servers[server].begin(transaction, self.plan.sabotage);
            self.schedule_commit(server, next);
        }
    }

    /// The node works between the two round trips of its transaction.
    fn schedule_commit(&mut self, server: usize, number: Option<u64>) {
        let Some(number) = number else { return };
        let most = if self.plan.sabotage == Sabotage::Lock { 400 * MS } else { 4 * MS };
        let delay = self.random.between(MS, most);
        let run = self.servers[server].run;
        self.after(delay, Event::Commit { server, run, number });
    }

    fn commit(&mut self, place: usize, run: u64, number: u64) {
        let server = &mut self.servers[place];
        if server.run != run || !server.is_alive {
            return;
        }
        let Some(holder) = server.holder(number) else { return };
        if self.nodes[holder].stopped {
            // idle_in_transaction_session_timeout.
            return self.after(2 * SECOND, Event::Abort { server: place, run, number });
        }
        match server.commit(number, self.now, &mut self.random) {
            Some(true) => {}
            Some(false) => {
                let (ended, next) = server.abort(number);
                if let Some(Transaction { node, number, .. }) = ended {
                    self.send(Event::Committed { node, number, position: None });
                }
                return self.schedule_commit(place, next);
            }
            None => return,
        }
        if self.strict {
            self.after(MS, Event::Replicate { server: place, run });
        } else {
            let delay = self.random.between(MS, 3 * MS);
            self.after(delay, Event::Show { server: place, run, number });
            self.after(delay + MS, Event::Replicate { server: place, run });
        }
    }

    /// Sends the log to the standby, and tries again until it has everything.
    fn replicate(&mut self, place: usize, run: u64) {
        let (primary, _) = self.pair(place);
        if primary.run != run || !primary.is_alive {
            return;
        }
        let length = primary.written();
        let has_another_standby = primary.has_another_standby;
        if has_another_standby {
            let delay = self.random.between(600, 4 * MS);
            self.after(delay, Event::Acknowledge { server: place, run, length });
        }
        let standby = &self.servers[1 - place];
        if !self.is_linked || !standby.is_alive || standby.is_primary {
            return self.after(100 * MS, Event::Replicate { server: place, run });
        }
        let (primary, standby) = self.pair(place);
        standby.follow(primary, length);
        let delay = self.random.between(300, 2 * MS);
        self.after(delay, Event::Acknowledge { server: place, run, length });
    }

    /// A server and the other one.
    fn pair(&mut self, place: usize) -> (&mut Server, &mut Server) {
        let (low, high) = self.servers.split_at_mut(1);
        let (low, high) = (&mut low[0], &mut high[0]);
        if place == 0 { (low, high) } else { (high, low) }
    }

    fn show_replicated(&mut self, place: usize) {
        let run = self.servers[place].run;
        for number in self.servers[place].replicated() {
            let stall = self.stalled_until[place].saturating_sub(self.now);
            let delay = stall + self.random.below(MS);
            self.after(delay, Event::Show { server: place, run, number });
        }
    }

    fn show(&mut self, place: usize, run: u64, number: u64) {
        let server = &mut self.servers[place];
        if server.run != run || !server.is_alive {
            return;
        }
        let Some((transaction, position, next)) = server.show(number) else { return };
        if matches!(transaction.work, Work::Repair { .. }) && position.is_some() {
            self.repairs += 1;
            self.clients.early_failover = true;
        }
        let Transaction { node, number, .. } = transaction;
        self.note(|| format!("server {place} shows {number} of node {node} at {position:?}"));
        self.send(Event::Committed { node, number, position });
        self.schedule_commit(place, next);
    }

    /// A node learns that its transaction ended. A change is answered once memory has it.
    fn committed(&mut self, place: usize, number: u64, position: Option<Position>) {
        let node = &mut self.nodes[place];
        if let Some(client) = self.changes.remove(&number) {
            if let Some(position) = position {
                node.unanswered.insert(number, (position, client));
                let now = node.now().since_boot;
                node.catch_up.request(now);
                self.answer_changes(place, &[]);
                self.tick(place);
            } else {
                self.clients.give_up(client);
            }
        } else if self.nodes[place].repair.is_some_and(|(repair, _)| repair == number) {
            self.nodes[place].repair = None;
            self.nodes[place].feed.reload();
        }
    }

    /// Answers the changes that memory has, by their tags: another history has other changes of
    /// the same numbers.
    fn answer_changes(&mut self, place: usize, rows: &[Position]) {
        let node = &mut self.nodes[place];
        node.seen.extend(rows.iter().map(|row| (row.sequence, row.tag)));
        let done: Vec<_> = node
            .unanswered
            .iter()
            .filter(|(_, (position, _))| node.seen.get(&position.sequence) == Some(&position.tag))
            .map(|(number, (_, client))| (*number, *client))
            .collect();
        for (number, client) in done {
            self.nodes[place].unanswered.remove(&number);
            self.clients.acknowledge(client, self.now);
            self.note(|| format!("node {place} answers change {number} of client {client}"));
            // Clients use at once, and on any node, what they were just given.
            let other = self.random.index(self.nodes.len());
            let delay = self.random.between(100, 3 * MS);
            self.after(delay, Event::PresentTo { node: other, client });
        }
    }

    /// The outcome of changes on another history is unknown.
    fn drop_changes(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.seen.clear();
        for (_, client) in std::mem::take(&mut node.unanswered).into_values() {
            self.clients.give_up(client);
        }
    }

    fn operate(&mut self) {
        let delay = self.random.between(50 * MS, 400 * MS);
        self.after(delay, Event::Operate);
        if self.now > END - 10 * SECOND {
            return;
        }
        let Some((client, operation)) = self.clients.begin(&mut self.random, self.now) else {
            return;
        };
        let node = self.random.index(self.nodes.len());
        self.note(|| format!("client {client} asks node {node} to {operation:?}"));
        let (client_id, key_id) = self.clients.key(client);
        if self.nodes[node].stopped {
            return self.clients.give_up(client);
        }
        let server = self.route(node);
        let number = self.transact(server, node, Work::Write { client_id, key_id, operation });
        self.changes.insert(number, client);
        self.after(8 * SECOND, Event::ChangeTimedOut { number });
    }

    fn present(&mut self, node: usize, client: usize) {
        if let Some(credential) = self.clients.present(client, &mut self.random) {
            let came = self.now;
            self.after(0, Event::Request { node, credential, came });
        }
    }

    fn request(&mut self, place: usize, credential: Credential, came: Micros) {
        let node = &mut self.nodes[place];
        let decision = node.decide(&credential);
        if decision != Decision::TooNew {
            return self.decided(place, &credential, decision, came);
        }
        if self.plan.sabotage == Sabotage::CatchUp {
            return self.decided(place, &credential, Decision::Refused, came);
        }
        let ticket = node.catch_up.request(node.now().since_boot);
        node.pending.push(Pending { credential, came, ticket });
        self.after(251 * MS, Event::Deadline { node: place });
        self.tick(place);
    }

    /// Decides again about the requests whose catch-up is applied or late.
    fn decide_pending(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let now = node.now().since_boot;
        let is_due = |pending: &Pending| {
            node.catch_up.is_served(pending.ticket) || pending.ticket.deadline <= now
        };
        let (due, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut node.pending).into_iter().partition(is_due);
        node.pending = pending;
        for Pending { credential, came, ticket } in due {
            let node = &self.nodes[place];
            let may_refuse =
                node.catch_up.is_served(ticket) && node.freshness.check_refusal().is_ok();
            let decision = match node.decide(&credential) {
                Decision::TooNew if may_refuse || self.plan.sabotage == Sabotage::CatchUpInTime => {
                    Decision::Refused
                }
                Decision::TooNew => Decision::Unavailable,
                decision => decision,
            };
            self.decided(place, &credential, decision, came);
        }
    }

    fn decided(&mut self, node: usize, credential: &Credential, decision: Decision, came: Micros) {
        self.note(|| format!("node {node}: {decision:?} {credential:?}, came at {came}"));
        let bound = checker::bound(self.plan.faults == Faults::None);
        let checked = self.clients.check(credential, decision, came, self.now, bound);
        if let Err(broken) = checked {
            self.note(|| format!("BROKEN: {broken}"));
            self.broken = Some(format!("at {} ms, node {node}: {broken}", self.now / MS));
        }
    }
}

struct Brief<'o>(&'o Outcome);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}
