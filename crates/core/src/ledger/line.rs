//! [`EntryLine`]: an entry as a line of JSON, in exports and archives.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{LedgerEntry, NewEntry, head::unhex};
use crate::{Timestamp, id::Hex};

/// An entry as one JSON object: as it is stored, with `outcome` derived from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryLine<'e> {
    sequence: i64,
    /// RFC 3339 with microseconds. An instant that RFC 3339 cannot express, which only a clock
    /// that is centuries off gives, is a number of microseconds.
    at: Cow<'e, str>,
    actor: Cow<'e, str>,
    action: Cow<'e, str>,
    target: Cow<'e, str>,
    outcome: Cow<'e, str>,
    detail: Cow<'e, str>,
    request_id: Cow<'e, str>,
    address: Cow<'e, str>,
    client: Cow<'e, str>,
    root_key_version: u32,
    state: Option<Cow<'e, str>>,
    link: Cow<'e, str>,
}

impl<'e> EntryLine<'e> {
    pub fn of(entry: &'e LedgerEntry) -> Self {
        let LedgerEntry { sequence, entry: of, root_key_version, state, link } = entry;
        Self {
            sequence: *sequence,
            at: written(of.at).into(),
            actor: of.actor.as_str().into(),
            action: of.action.as_str().into(),
            target: of.target.as_str().into(),
            outcome: if of.is_refusal() { "refused" } else { "done" }.into(),
            detail: of.detail.as_str().into(),
            request_id: of.request_id.as_str().into(),
            address: of.peer.as_str().into(),
            client: of.user_agent.as_str().into(),
            root_key_version: *root_key_version,
            state: state.map(|state| Hex(&state).to_string().into()),
            link: Hex(link).to_string().into(),
        }
    }

    /// The entry; `None` if a time or a MAC is malformed.
    pub fn entry(&self) -> Option<LedgerEntry> {
        Some(LedgerEntry {
            sequence: self.sequence,
            entry: NewEntry {
                at: read(&self.at)?,
                actor: self.actor.clone().into_owned(),
                action: self.action.clone().into_owned(),
                target: self.target.clone().into_owned(),
                detail: self.detail.clone().into_owned(),
                request_id: self.request_id.clone().into_owned(),
                peer: self.address.clone().into_owned(),
                user_agent: self.client.clone().into_owned(),
            },
            root_key_version: self.root_key_version,
            state: match &self.state {
                Some(state) => Some(unhex(state)?),
                None => None,
            },
            link: unhex(&self.link)?,
        })
    }
}

fn written(at: Timestamp) -> String {
    match u64::try_from(at.as_micros()) {
        Ok(micros) if at <= Timestamp::MAX => {
            humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(micros)).to_string()
        }
        Ok(_) | Err(_) => at.as_micros().to_string(),
    }
}

fn read(at: &str) -> Option<Timestamp> {
    if let Ok(micros) = at.parse() {
        return Some(Timestamp::from_micros(micros));
    }
    let since = humantime::parse_rfc3339(at).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_survives_as_a_line(
            sequence: i64,
            at in prop_oneof![any::<i64>(), 0..=Timestamp::MAX.as_micros()],
            texts: [String; 7],
            root_key_version: u32,
            state: Option<[u8; 32]>,
            link: [u8; 32],
        ) {
            let [actor, action, target, detail, request_id, peer, user_agent] = texts;
            let at = Timestamp::from_micros(at);
            let entry =
                NewEntry { at, actor, action, target, detail, request_id, peer, user_agent };
            let entry = LedgerEntry { sequence, entry, root_key_version, state, link };
            let json = serde_json::to_string(&EntryLine::of(&entry)).unwrap();
            prop_assert!(!json.contains('\n'));
            let line: EntryLine<'_> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(line.entry(), Some(entry));
        }
    }
}
