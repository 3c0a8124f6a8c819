//! Text from elsewhere: which characters a name must not contain, and how to print any text so
//! that it cannot control a terminal.
//!
//! ```
//! use gatekey_credentials::text;
//!
//! assert_eq!(text::deceptive_character("a\u{202e}gpj.exe"), Some('\u{202e}'));
//! assert_eq!(text::deceptive_character("شركة"), None);
//! assert_eq!(text::printable("\u{1b}[2Jname"), r"\u{1b}[2Jname");
//! ```

use std::borrow::Cow;

/// Returns the first character of `text` that shows as something other than it is: a control
/// character, a line or paragraph separator, a character that changes the direction of text, or one
/// that is invisible.
///
/// Scripts need U+200C and U+200D, and variation selectors after a character that they vary, so
/// these are accepted.
pub fn deceptive_character(text: &str) -> Option<char> {
    deceptive_characters(text).map(|(_, character)| character).next()
}

/// Returns whether `text` contains a character that is seen.
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|character| {
        !character.is_whitespace()
            && !character.is_control()
            && !is_invisible(character)
            && !is_variation_selector(character)
            // The joiners.
            && !matches!(character, '\u{200c}' | '\u{200d}')
    })
}

/// Escapes every [deceptive character](deceptive_character) as `\u{202e}`, and line breaks and tabs
/// as `\n`, `\r` and `\t`, so that the text takes one line and cannot control the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let mut printable = String::new();
    let mut rest = 0;
    for (at, character) in deceptive_characters(text) {
        printable.push_str(&text[rest..at]);
        printable.extend(character.escape_default());
        rest = at + character.len_utf8();
    }
    if rest == 0 {
        return Cow::Borrowed(text);
    }
    printable.push_str(&text[rest..]);
    Cow::Owned(printable)
}

/// Returns every [deceptive character](deceptive_character) with its byte offset.
pub fn deceptive_characters(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut before = None;
    text.char_indices().filter(move |(_, character)| {
        let previous = before.replace(*character);
        character.is_control()
            || is_invisible(*character)
            || (is_variation_selector(*character)
                && !previous.is_some_and(|previous| can_vary(previous, *character)))
    })
}

/// Whether a character is never seen and has no use in a name: bidirectional controls, separators,
/// fillers, tags, other ignorable characters (Unicode's `Default_Ignorable_Code_Point`), and
/// letters and symbols that are blank: of Braille, of music and of hieroglyphs.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffc}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// Whether a character selects a form of the one before it.
fn is_variation_selector(character: char) -> bool {
    matches!(character,
        '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether there are variants of a character: of Mongolian letters, of ideographs, and of symbols
/// with an emoji.
fn can_vary(character: char, selector: char) -> bool {
    match selector {
        '\u{180b}'..='\u{180f}' => matches!(character, '\u{1820}'..='\u{18aa}'),
        '\u{fe0e}' | '\u{fe0f}' if is_symbol(character) => true,
        _ => matches!(character,
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'),
    }
}

fn is_symbol(character: char) -> bool {
    matches!(character,
        '#' | '*' | '0'..='9' | '©' | '®' | '\u{203c}' | '\u{2049}' | '\u{2100}'..='\u{214f}'
        | '\u{2190}'..='\u{23ff}' | '\u{2460}'..='\u{24ff}' | '\u{2500}'..='\u{27bf}'
        | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}'
        | '\u{3200}'..='\u{32ff}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_every_script_are_accepted() {
        for name in [
            "CI Pipeline",
            "Größe Ærø naïve",
            "Ωμέγα",
            "Проверка",
            "שלום עולם",
            "خط أنابيب",
            "می\u{200c}خواهم",
            "हिन्दी क्\u{200d}ष",
            "ไทย",
            "한국어",
            "日本語　名前",
            "葛\u{e0100}城",
            "ᠮᠣᠩᠭ\u{180b}ᠣᠯ",
            "ភាសាខ្មែរ",
            "ⲁ 𐎀 𓂀\u{13430}𓂁",
            "\u{600}١٢",
            "a\u{301}",
            "❤\u{fe0f} 👩\u{200d}🚀 1\u{fe0f}\u{20e3}",
        ] {
            assert_eq!(deceptive_character(name), None, "{name:?}");
            assert_eq!(printable(name), name);
            assert!(is_visible(name), "{name:?}");
        }
    }

    #[test]
    fn deceptive_characters_are_found_and_escaped() {
        for character in "\u{0}\n\t\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200e}\u{200f}\
                          \u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{3164}\u{feff}\
                          \u{fe0f}\u{fff9}\u{2800}\u{fffc}\u{13441}\u{16fe4}\u{1d159}\u{e0001}\u{e0041}\u{e0100}"
            .chars()
        {
            let text = format!("a{character}b");
            assert_eq!(deceptive_character(&text), Some(character), "{character:?}");
            let escaped = character.escape_default();
            assert_eq!(printable(&text), format!("a{escaped}b"));
        }
    }

    #[test]
    fn text_without_visible_characters_is_not_visible() {
        for text in ["", " ", "\u{3000}", "\u{200d}", "\u{2800}", "\u{fe0f}", "\u{200b}\n"] {
            assert!(!is_visible(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printable_text_has_nothing_deceptive(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert_eq!(deceptive_character(&shown), None);
            prop_assert_eq!(printable(&shown), shown.clone());
            prop_assert_eq!(deceptive_character(&text).is_none(), shown == text);
        }
    }
}
