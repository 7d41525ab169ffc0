//! What of a guest's output a terminal may get: text and what moves or colours it, nothing that
//! acts.
//!
//! A terminal obeys its output. Sequences set the clipboard (OSC 52) and the title, print to a
//! printer, define keys, and make the terminal *type*: a report of its state or its title arrives
//! as input of whatever reads it next, the user's shell. So the filter knows the grammar of ECMA-48
//! (5.2 to 5.6), passes a sequence only when it is complete and in the list of [`harmless`], and
//! drops every other whole, its text included. It passes no byte of a sequence before the last, so
//! a terminal is never left in the middle of one.
//!
//! Limits: text can still look like anything, a message of this program included. What the list
//! does not have (scroll regions, the second screen, the mouse) full-screen programs need:
//! `--console raw`.

/// Longest sequence that is passed; longer ones are dropped.
const HELD: usize = 48;
/// Bytes after which the text of a string sequence that does not end is shown as text again.
const STRING: u32 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte.
    Intermediate,
    /// In a control sequence.
    Csi,
    /// In a control sequence that is too long.
    LongCsi,
    /// In an OSC, DCS, SOS, PM or APC string: bytes so far.
    String(u32),
    /// In a character of UTF-8: bytes to come.
    Utf8(u8),
}

/// The filter, between a guest and a terminal.
#[derive(Debug, Clone)]
pub struct Filter {
    state: State,
    held: [u8; HELD],
    len: usize,
    utf8: bool,
    dropped: u64,
}

impl Filter {
    /// More bytes than were given that one call of [`Filter::pass`] can have to pass on.
    pub const SLACK: usize = HELD;

    /// A filter for a terminal that reads UTF-8, or bytes of an 8-bit code: in those 0x80 to 0x9f
    /// are control characters, also where they are a part of a character in UTF-8.
    #[must_use]
    pub const fn new(utf8: bool) -> Self {
        Self { state: State::Ground, held: [0; HELD], len: 0, utf8, dropped: 0 }
    }

    /// How many sequences and control characters were held back.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What can be passed on now that this byte has come.
    pub fn pass(&mut self, byte: u8) -> &[u8] {
        match (self.state, byte) {
            (State::Ground, _) => self.ground(byte),
            // CAN, SUB and ESC end every sequence (ECMA-48; ESC begins the next one).
            (_, 0x18 | 0x1a) => self.give_up(),
            (_, 0x1b) => self.begin(State::Escape, byte),
            // A string ends by BEL, or by ESC \, which is dropped with ESC; a new line ends it,
            // too, so that an unfinished one hides nothing but its own line.
            (State::String(_), 0x07) => self.give_up(),
            (State::String(_), b'\n' | b'\r') => self.again(byte),
            (State::String(len), _) if len < STRING => {
                self.state = State::String(len + 1);
                &[]
            }
            (State::String(_), _) => self.again(byte),
            (State::Utf8(left), 0x80..=0xbf) => self.character(left, byte),
            (State::Utf8(_), _) => self.again(byte),
            (_, 0..0x20 | 0x80..) => self.again(byte),
            (_, 0x7f) => &[],
            (State::Escape, _) => self.escape(byte),
            (State::Intermediate, 0x20..=0x2f) => &[],
            (State::Intermediate, _) => self.give_up(),
            (State::Csi, _) => self.csi(byte),
            (State::LongCsi, 0x20..=0x3f) => &[],
            (State::LongCsi, _) => self.give_up(),
        }
    }

    fn ground(&mut self, byte: u8) -> &[u8] {
        match byte {
            0x1b => self.begin(State::Escape, byte),
            // BEL, BS, HT, LF, CR, and text. ENQ makes a terminal answer; SO and SI change its
            // letters.
            0x07..=0x0a | 0x0d | 0x20..=0x7e => self.only(byte),
            0..0x20 | 0x7f => self.give_up(),
            0xa0.. if !self.utf8 => self.only(byte),
            0xc2..=0xdf if self.utf8 => self.begin(State::Utf8(1), byte),
            0xe0..=0xef if self.utf8 => self.begin(State::Utf8(2), byte),
            0xf0..=0xf4 if self.utf8 => self.begin(State::Utf8(3), byte),
            0x80.. => self.give_up(),
        }
    }

    fn character(&mut self, left: u8, byte: u8) -> &[u8] {
        self.hold(byte);
        if left > 1 {
            self.state = State::Utf8(left - 1);
            return &[];
        }
        let text = std::str::from_utf8(self.held()).unwrap_or("\u{80}");
        // U+0080 to U+009F are the controls that begin with ESC, in one character.
        if text.chars().any(char::is_control) { self.give_up() } else { self.finish() }
    }

    fn escape(&mut self, byte: u8) -> &[u8] {
        match byte {
            b'[' => {
                self.hold(byte);
                self.state = State::Csi;
                &[]
            }
            b']' | b'P' | b'X' | b'^' | b'_' => {
                self.state = State::String(0);
                &[]
            }
            0x20..=0x2f => {
                self.state = State::Intermediate;
                &[]
            }
            // Save and restore the cursor; down, next line, up.
            b'7' | b'8' | b'D' | b'E' | b'M' => {
                self.hold(byte);
                self.finish()
            }
            _ => self.give_up(),
        }
    }

    fn csi(&mut self, byte: u8) -> &[u8] {
        if !self.hold(byte) {
            self.state = State::LongCsi;
        }
        if byte < 0x40 {
            return &[];
        }
        if self.state == State::Csi && self.held().get(2..).is_some_and(harmless) {
            self.finish()
        } else {
            self.give_up()
        }
    }

    fn held(&self) -> &[u8] {
        self.held.get(..self.len).unwrap_or(&[])
    }

    fn hold(&mut self, byte: u8) -> bool {
        let Some(to) = self.held.get_mut(self.len) else { return false };
        *to = byte;
        self.len += 1;
        true
    }

    fn begin(&mut self, state: State, byte: u8) -> &[u8] {
        if self.state != State::Ground && !matches!(self.state, State::Utf8(_)) {
            self.dropped = self.dropped.saturating_add(1);
        }
        (self.state, self.len) = (state, 0);
        self.hold(byte);
        &[]
    }

    fn only(&mut self, byte: u8) -> &[u8] {
        self.len = 0;
        self.hold(byte);
        self.finish()
    }

    fn finish(&mut self) -> &[u8] {
        self.state = State::Ground;
        self.held()
    }

    fn give_up(&mut self) -> &[u8] {
        (self.state, self.len) = (State::Ground, 0);
        self.dropped = self.dropped.saturating_add(1);
        &[]
    }

    /// Drops what was held; the byte begins something new.
    fn again(&mut self, byte: u8) -> &[u8] {
        let _ = self.give_up();
        self.ground(byte)
    }
}

/// Whether a control sequence, without its ESC and `[`, moves the cursor, erases, inserts or
/// deletes on the screen, or colours. All of it is undone by the next prompt; none of it is
/// answered.
fn harmless(sequence: &[u8]) -> bool {
    let Some((last, parameters)) = sequence.split_last() else { return false };
    // No private markers (`<=>?`: modes, the mouse, key reports), no intermediate bytes.
    let digits = |more: &[u8]| parameters.iter().all(|b| b.is_ascii_digit() || more.contains(b));
    let longest = parameters.split(|b| !b.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0);
    longest <= 5
        && match last {
            // Attributes; colours separate by colons, too (ISO 8613-6).
            b'm' => digits(b";:"),
            // Up, down, right, left, next and previous line, column, place (twice), row, tabs.
            b'A'..=b'I' | b'Z' | b'd' | b'f' | b'`' => digits(b";"),
            // Erase in line, insert and delete characters and lines, erase characters.
            b'K' | b'@' | b'P' | b'L' | b'M' | b'X' => digits(b";"),
            // Erase the screen; 3 would erase what the user has scrolled by.
            b'J' => matches!(parameters, b"" | b"0" | b"1" | b"2"),
            // Save and restore the cursor; with parameters they are something else.
            b's' | b'u' => parameters.is_empty(),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::{Filter, HELD};
    use proptest::prelude::*;

    fn passed(utf8: bool, bytes: &[u8]) -> Vec<u8> {
        let mut filter = Filter::new(utf8);
        bytes.iter().flat_map(|byte| filter.pass(*byte).to_vec()).collect()
    }

    fn shown(text: &str) -> String {
        String::from_utf8(passed(true, text.as_bytes())).unwrap()
    }

    /// Protects the user's clipboard, title, keyboard and shell from a guest. Cannot tell what a
    /// terminal does that obeys other sequences than those of ECMA-48 and xterm.
    #[test]
    fn nothing_that_acts_on_a_terminal_or_makes_it_answer_is_passed() {
        for acts in [
            "\x1b]52;c;cHduZWQ=\x07",   // clipboard
            "\x1b]52;c;cHduZWQ=\x1b\\", // the same, ended by ST
            "\x1b]0;pwned\x07",         // title
            "\x1b]8;;http://x\x1b\\",   // link
            "\x1b]10;?\x07",            // colour report
            "\x1bP$q\"p\x1b\\",         // DECRQSS
            "\x1bP+q544e\x1b\\",        // termcap report
            "\x1bP1$r0m\x1b\\",
            "\x1bX sos \x1b\\",
            "\x1b^ pm \x1b\\",
            "\x1b_ apc \x1b\\",
            "\x1b[21t",
            "\x1b[14t",
            "\x1b[8;9;9t", // title and size reports, resize
            "\x1b[6n",
            "\x1b[5n",
            "\x1b[?6n", // status reports
            "\x1b[c",
            "\x1b[>c",
            "\x1b[=c",
            "\x1b[0c",
            "\x1bZ",
            "\x1b[x",
            "\x1b[1x",
            "\x1b[?1$p",
            "\x1b[!p",
            "\x1b[1$}",
            "\x1b[5i",
            "\x1b[?5i", // printer
            "\x1b[?1049h",
            "\x1b[?1000h",
            "\x1b[?2004h",
            "\x1b[?1004h",
            "\x1b[4h",
            "\x1b[20h",
            "\x1b[>4;2m",
            "\x1b[>1u",
            "\x1b[=1u",
            "\x1b[?u",
            "\x1b[3J",
            "\x1b[2;9r",
            "\x1b[0q",
            "\x1b[1 q",
            "\x1b[>q",
            "\x1b[99b",
            "\x1b[1;1;1;1;1T",
            "\x1b[3g",
            "\x1b[1;1;9;9;1*y",
            "\x1bc",
            "\x1b#8",
            "\x1b(0",
            "\x1b%@",
            "\x1b=",
            "\x1b>",
            "\x1bN",
            "\x1bH",
            "\x05",
            "\x0e",
            "\x0f",
            "\x7f",
            "\0",
            "\x11",
            "\x13",
            "\u{9b}21t",
            "\u{9d}0;pwned\u{9c}",
            "\u{90}$qm\u{9c}",
            "\u{85}",
            "\u{9a}",
        ] {
            let out = shown(acts);
            let text = |c: char| !c.is_control();
            assert!(out.chars().all(text), "{acts:?} gives {out:?}");
            assert!(!acts.starts_with('\x1b') || out.is_empty(), "{acts:?} gives {out:?}");
        }
    }

    #[test]
    fn bytes_that_are_controls_of_an_8_bit_terminal_never_reach_it() {
        let all: Vec<u8> = (0..=255).collect();
        let out = passed(false, &all);
        assert!(out.iter().all(|byte| !matches!(byte, 0x80..=0x9f | 0x1b)), "{out:?}");
        // U+265B has 0x9b, which is CSI there, in the middle.
        assert_eq!(passed(false, "\u{265b}".as_bytes()), [0xe2]);
    }

    #[test]
    fn text_colours_and_cursor_movement_are_passed_as_they_are() {
        for plain in [
            "login: ünïcödé 日本語 \u{1f980}\r\n\ttab\x08\x07",
            "\x1b[0;1;31mred\x1b[m \x1b[38;5;200m \x1b[38:2::1:2:3m",
            "\x1b[2J\x1b[H\x1b[10;20H\x1b[5A\x1b[K\x1b[1K\x1b[2X\x1b[s\x1b[u\x1b7\x1b8\x1bM",
        ] {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn a_sequence_that_does_not_end_hides_no_later_line() {
        assert_eq!(shown("\x1b]0;title\nlater"), "\nlater");
        assert_eq!(shown("\x1b[1;2\nlater"), "\nlater");
        let long = format!("\x1bP{}end", "x".repeat(5000));
        assert!(shown(&long).ends_with("xend"));
        assert_eq!(shown(&format!("\x1b[{}mafter", "1;".repeat(HELD))), "after");
        assert_eq!(passed(true, b"\xe2\x82A\xffB"), b"AB");
    }

    #[test]
    fn what_was_held_back_is_counted() {
        let mut filter = Filter::new(true);
        b"a\x1b[31mb".iter().for_each(|byte| drop(filter.pass(*byte).to_vec()));
        assert_eq!(filter.dropped(), 0);
        b"\x1b]0;x\x07\x1b[c".iter().for_each(|byte| drop(filter.pass(*byte).to_vec()));
        assert_eq!(filter.dropped(), 2);
    }

    proptest! {
        /// Every ESC that is passed begins a sequence of the list; no control character but those
        /// named.
        #[test]
        fn whatever_comes_only_the_list_goes(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b';')], 0..300),
            utf8: bool,
        ) {
            let out = passed(utf8, &bytes);
            prop_assert!(out.len() <= bytes.len());
            let mut rest = &out[..];
            while let Some((first, after)) = rest.split_first() {
                rest = after;
                match first {
                    0x1b => {
                        let (second, after) = after.split_first().unwrap();
                        rest = after;
                        if *second == b'[' {
                            let end = after.iter().position(|b| (0x40..0x7f).contains(b)).unwrap();
                            prop_assert!(super::harmless(&after[..=end]));
                            rest = &after[end + 1..];
                        } else {
                            prop_assert!(b"78DEM".contains(second));
                        }
                    }
                    0x07..=0x0a | 0x0d => {}
                    control => prop_assert!(*control >= 0x20 && *control != 0x7f),
                }
            }
            if utf8 {
                let text = String::from_utf8(out).unwrap();
                let is_c1 = |c: char| c.is_control() && !c.is_ascii();
                prop_assert!(!text.chars().any(is_c1));
            }
        }
    }
}
