//! What is true of each credential, and which decisions contradict it.

use std::time::Duration;

use gatekey_core::{
    ApiKey, Application, KeyId, Timestamp,
    api_key::{Limits, Roles},
    feed::FreshnessLimits,
};
use gatekey_credentials::ClientId;

use crate::{
    clock,
    database::Operation,
    node::{Credential, Decision},
    random::Random,
    world::Micros,
};

/// What is known of a credential, by the true time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// When its creation was acknowledged.
    valid_from: Option<Micros>,
    /// When its revocation began, whether or not it was acknowledged.
    ends_from: Option<Micros>,
    /// When its revocation was acknowledged.
    ended_at: Option<Micros>,
}

/// A client that changes its key, one change at a time.
struct Client {
    id: ClientId,
    credentials: Vec<(Credential, Life)>,
    /// Whether the key exists and is enabled, as far as the client knows.
    is_usable: bool,
    exists: bool,
    busy: Option<Operation>,
    /// A change had no answer: its outcome is unknown, and the client ends.
    gave_up: bool,
}

/// The clients, and what they know to be true.
pub(crate) struct Clients {
    all: Vec<Client>,
    /// Set from a failover that can lose acknowledged changes on.
    pub(crate) lossy: bool,
    /// Set when a failover came so early that a former primary may answer a catch-up.
    pub(crate) early_failover: bool,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unavailable: u64,
    /// The longest time from an acknowledged revocation to an acceptance.
    pub(crate) latest: Micros,
}

impl Clients {
    pub(crate) fn new(count: usize) -> Self {
        let client = |number: usize| Client {
            id: format!("client-{number}").parse::<ClientId>().unwrap(),
            credentials: Vec::new(),
            is_usable: false,
            exists: false,
            busy: None,
            gave_up: false,
        };
        Self {
            all: (0..count).map(client).collect(),
            lossy: false,
            early_failover: false,
            accepted: 0,
            refused: 0,
            unavailable: 0,
            latest: 0,
        }
    }

    /// A client's id, and the key that it changes, unless it creates one.
    pub(crate) fn key(&self, client: usize) -> (ClientId, Option<KeyId>) {
        let client = &self.all[client];
        let last = client.credentials.last().filter(|_| client.exists);
        (client.id.clone(), last.map(|(credential, _)| credential.key_id))
    }

    /// Begins a change of a random client.
    pub(crate) fn begin(&mut self, random: &mut Random, now: Micros) -> Option<(usize, Operation)> {
        let place = random.index(self.all.len());
        let client = &mut self.all[place];
        if client.busy.is_some() || client.gave_up {
            return None;
        }
        let operation = match random.below(if client.is_usable { 5 } else { 2 }) {
            _ if !client.exists => Operation::Create(Box::new(new_key(client, random, now))),
            1 if client.is_usable => Operation::Disable,
            2 | 3 => Operation::RaiseEpoch,
            4 => Operation::Deny(client.credentials.last()?.0.jti.clone()),
            _ => Operation::Delete,
        };
        if let Some((_, life)) = client.credentials.last_mut()
            && client.exists
        {
            life.ends_from.get_or_insert(now);
        }
        client.busy = Some(operation.clone());
        Some((place, operation))
    }

    /// Notes that a change had no answer.
    pub(crate) fn give_up(&mut self, client: usize) {
        if self.all[client].busy.is_some() {
            self.all[client].gave_up = true;
        }
    }

    /// Notes that a change was acknowledged.
    pub(crate) fn acknowledge(&mut self, client: usize, now: Micros) {
        let client = &mut self.all[client];
        let Some(operation) = client.busy.take() else { return };
        client.gave_up = false;
        if client.exists
            && let Some((_, life)) = client.credentials.last_mut()
        {
            life.ended_at.get_or_insert(now);
        }
        let life = Life { valid_from: Some(now), ends_from: None, ended_at: None };
        let jti = |count: usize| format!("token-{count}");
        let count = client.credentials.len();
        match operation {
            Operation::Create(key) => {
                (client.exists, client.is_usable) = (true, true);
                let client_id = client.id.clone();
                let jti = jti(count);
                let credential = Credential { client_id, key_id: key.key_id, epoch: 1, jti };
                client.credentials.push((credential, life));
            }
            Operation::Delete => (client.exists, client.is_usable) = (false, false),
            Operation::Disable => client.is_usable = false,
            Operation::RaiseEpoch => client.add(1, jti(count), life),
            Operation::Deny(_) => client.add(0, jti(count), life),
        }
    }

    /// A credential that a client may present, or stole.
    pub(crate) fn present(&self, client: usize, random: &mut Random) -> Option<Credential> {
        let credentials = &self.all[client].credentials;
        let newest = credentials.len().checked_sub(1)?;
        let place = if random.chance(60) { newest } else { random.index(credentials.len()) };
        Some(credentials[place].0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    fn life(&self, credential: &Credential) -> Option<&Life> {
        let credentials = self.all.iter().flat_map(|client| &client.credentials);
        credentials.into_iter().find(|(one, _)| one == credential).map(|(_, life)| life)
    }

    /// Notes a decision about a request that came at `came`.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(
        &mut self,
        credential: &Credential,
        decision: Decision,
        came: Micros,
        now: Micros,
        bound: Duration,
    ) -> Result<(), String> {
        let Some(life) = self.life(credential).cloned() else { return Ok(()) };
        match decision {
            Decision::Accepted => {
                self.accepted += 1;
                let late = life.ended_at.map_or(0, |ended| now.saturating_sub(ended));
                if !self.lossy {
                    self.latest = self.latest.max(late);
                }
                if !self.lossy && Duration::from_micros(late) > bound {
                    return Err(format!("{credential:?} accepted {late} us after its revocation"));
                }
            }
            Decision::Refused => {
                self.refused += 1;
                let is_valid = life.valid_from.is_some_and(|from| from <= came)
                    && life.ends_from.is_none_or(|end| end > now);
                if is_valid && !self.lossy && !self.early_failover {
                    return Err(format!("{credential:?} refused although it is valid"));
                }
            }
            Decision::Unavailable | Decision::TooNew => self.unavailable += 1,
        }
        Ok(())
    }

    /// Checks that at the end no credential is accepted whose revocation was acknowledged, and that
    /// all others are, by one node. After a repair, the node may lack credentials.
    ///
    /// # Errors
    /// The credential that is not.
    pub(crate) fn check_end(
        &self,
        decide: impl Fn(&Credential) -> Decision,
        may_lack: bool,
    ) -> Result<(), String> {
        for client in &self.all {
            for (credential, life) in &client.credentials {
                let decision = decide(credential);
                if decision == Decision::Unavailable {
                    return Err("service did not resume".to_owned());
                }
                let is_accepted = decision == Decision::Accepted;
                if life.ended_at.is_some() && is_accepted {
                    return Err(format!("{credential:?} accepted in the end"));
                }
                if life.ends_from.is_none() && !is_accepted && !may_lack && !client.gave_up {
                    return Err(format!("{credential:?} refused in the end"));
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// Adds a credential that replaces the last.
    fn add(&mut self, epochs: u64, jti: String, life: Life) {
        let Some((last, _)) = self.credentials.last() else { return };
        let credential = Credential { epoch: last.epoch + epochs, jti, ..last.clone() };
        self.credentials.push((credential, life));
    }
}

fn new_key(client: &Client, random: &mut Random, now: Micros) -> ApiKey {
    let number = u128::from_be_bytes(random.bytes());
    let at = clock::wall(now);
    ApiKey {
        key_id: format!("{number:032x}").parse::<KeyId>().unwrap(),
        client_id: client.id.clone(),
        organization: String::new(),
        roles: Roles::NONE,
        application: Application::named("CI"),
        limits: Limits::default(),
        created_at: at,
        updated_at: at,
        expires_at: None::<Timestamp>,
        disabled_at: None,
        epoch: 1,
        secrets: Vec::new(),
    }
}

/// The bound on an acceptance after an acknowledged revocation.
pub(crate) fn bound(is_healthy: bool) -> Duration {
    if is_healthy { Duration::from_secs(1) } else { FreshnessLimits::default().max_staleness }
}
