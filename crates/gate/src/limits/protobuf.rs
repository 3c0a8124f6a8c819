//! Reads named fields of a message in protobuf's binary form.
//!
//! A parser takes the last of repeated scalars, merges repeated messages, and ignores a field whose
//! type is not the expected one. A message that names a project in one of these ways is refused
//! instead: no client writes it.

use super::{places::Field, unreadable::Unreadable};

/// A message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'b>(pub(super) &'b [u8]);

enum Value<'b> {
    Bytes(&'b [u8]),
    Number,
}

impl<'b> Message<'b> {
    /// The values of a field that is a text or a message. More than one only for a repeated field.
    fn values(self, field: &Field) -> Result<Vec<&'b [u8]>, Unreadable> {
        let mut rest = self.0;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (number, value) = take_field(&mut rest)?;
            if number != u64::from(field.number) {
                continue;
            }
            let Value::Bytes(bytes) = value else { return Err(Unreadable::Malformed) };
            values.push(bytes);
        }
        if values.len() > 1 && !field.repeated {
            return Err(Unreadable::Repeated);
        }
        Ok(values)
    }

    /// The messages at the end of a path of fields.
    pub(super) fn messages(self, path: &[Field]) -> Result<Vec<Self>, Unreadable> {
        let mut messages = vec![self];
        for field in path {
            let mut inner = Vec::new();
            for message in messages {
                inner.extend(message.values(field)?.into_iter().map(Message));
            }
            messages = inner;
        }
        Ok(messages)
    }

    /// Whether a field is there, whatever its type.
    pub(super) fn has(self, field: &Field) -> Result<bool, Unreadable> {
        let mut rest = self.0;
        let mut found = false;
        while !rest.is_empty() {
            let (number, _) = take_field(&mut rest)?;
            found |= number == u64::from(field.number);
        }
        Ok(found)
    }

    /// A text; empty if it is absent.
    pub(super) fn text(self, field: &Field) -> Result<&'b str, Unreadable> {
        let value = self.values(field)?.first().copied().unwrap_or_default();
        std::str::from_utf8(value).map_err(|_| Unreadable::Malformed)
    }
}

/// Takes a field off a message.
fn take_field<'b>(rest: &mut &'b [u8]) -> Result<(u64, Value<'b>), Unreadable> {
    let tag = take_varint(rest)?;
    let number = tag >> 3;
    if number == 0 || number > u64::from(u32::MAX >> 3) {
        return Err(Unreadable::Malformed);
    }
    let value = match tag & 7 {
        0 => {
            take_varint(rest)?;
            Value::Number
        }
        1 => {
            take(rest, 8)?;
            Value::Number
        }
        2 => {
            let length = usize::try_from(take_varint(rest)?).map_err(|_| Unreadable::Malformed)?;
            Value::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Value::Number
        }
        // Groups (3 and 4) are in none of Flyte's messages, and 6 and 7 are nothing.
        _ => return Err(Unreadable::Malformed),
    };
    Ok((number, value))
}

/// Takes a number of one to ten bytes, also if it could be shorter: parsers accept that.
fn take_varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0_u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first().ok_or(Unreadable::Malformed)?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            return Err(Unreadable::Malformed);
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable::Malformed)
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], Unreadable> {
    let (taken, after) = rest.split_at_checked(length).ok_or(Unreadable::Malformed)?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: Field = Field { name: "text", number: 2, repeated: false };
    const LIST: Field = Field { name: "list", number: 3, repeated: true };

    #[test]
    fn a_field_with_two_readings_is_refused() {
        let text = |bytes: &'static [u8]| Message(bytes).text(&TEXT);
        assert_eq!(text(b""), Ok(""));
        assert_eq!(text(b"\x12\x01a"), Ok("a"));
        assert_eq!(text(b"\x08\x01\x12\x01a\x1a\x00\x25abcd\x29abcdefgh"), Ok("a"));
        assert_eq!(text(b"\x92\x80\x00\x81\x00a"), Ok("a"), "a longer spelling of both numbers");
        assert_eq!(text(b"\x12\x01a\x12\x01b"), Err(Unreadable::Repeated));
        assert_eq!(text(b"\x12\x01a\x12\x01a"), Err(Unreadable::Repeated));
        for malformed in [
            b"\x12" as &[u8],
            b"\x12\x02a",
            b"\x10\x01",
            b"\x13\x14",
            b"\x0b\x12\x01a\x0c",
            b"\x0c",
            b"\x16\x00",
            b"\x02\x00",
            b"\x12\x01\xff",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
            b"\x92\x80\x80\x80\x80\x80\x01\x00",
        ] {
            assert_eq!(text(malformed), Err(Unreadable::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn every_element_of_a_list_is_read() {
        let found = Message(b"\x1a\x03\x12\x01a\x1a\x03\x12\x01b").messages(&[LIST]).unwrap();
        let texts: Vec<_> = found.iter().map(|message| message.text(&TEXT).unwrap()).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Message(&bytes).text(&TEXT);
            if let Ok(found) = Message(&bytes).messages(&[LIST, TEXT]) {
                prop_assert!(found.len() <= bytes.len());
            }
        }

        /// Whatever surrounds it, a field is found, or the message is refused.
        #[test]
        fn a_field_is_never_overlooked(before in prop::collection::vec(any::<u8>(), 0..20), after in prop::collection::vec(any::<u8>(), 0..20)) {
            let whole = [before.as_slice(), b"\x12\x01a", after.as_slice()].concat();
            let is_message = |bytes: &[u8]| {
                let mut rest = bytes;
                while !rest.is_empty() {
                    if take_field(&mut rest).is_err() { return false; }
                }
                true
            };
            if is_message(&before)
                && let Ok(text) = Message(&whole).text(&TEXT)
            {
                prop_assert_eq!(text, "a");
            }
        }
    }
}
