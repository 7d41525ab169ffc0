//! What is typed at a terminal: bytes for the guest, and commands behind the escape key.
//!
//! Ctrl-C, Ctrl-Z and Ctrl-\ stay signals of the terminal, so that a user can always get out, even
//! when this program does not read. The escape key sends them to the guest, among other things.

/// What a user can ask for by the escape key and another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Press the power button.
    PowerButton,
    /// End the VM at once.
    End,
    /// Say which keys there are.
    Help,
}

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A byte for the guest.
    Byte(u8),
    /// A command.
    Command(Command),
    /// Nothing yet: the next key decides.
    Begun,
}

/// The keys of a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    escape: Option<u8>,
    begun: bool,
}

impl Keys {
    /// Keys with this escape key, as the byte that it sends; none: every byte is the guest's.
    #[must_use]
    pub const fn new(escape: Option<u8>) -> Self {
        Self { escape, begun: false }
    }

    /// What the next byte means.
    pub fn take(&mut self, byte: u8) -> Key {
        let Some(escape) = self.escape else { return Key::Byte(byte) };
        if !std::mem::take(&mut self.begun) {
            self.begun = byte == escape;
            return if self.begun { Key::Begun } else { Key::Byte(byte) };
        }
        match byte {
            b'p' => Key::Command(Command::PowerButton),
            b'x' => Key::Command(Command::End),
            b'c' => Key::Byte(0x03),
            b'z' => Key::Byte(0x1a),
            b'\\' => Key::Byte(0x1c),
            byte if byte == escape || Some(byte) == self.letter() => Key::Byte(escape),
            _ => Key::Command(Command::Help),
        }
    }

    /// The letter of the escape key.
    const fn letter(&self) -> Option<u8> {
        match self.escape {
            Some(escape) => Some(escape | 0x60),
            None => None,
        }
    }

    /// The line that says which keys there are; None without an escape key.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let letter = char::from(self.letter()?);
        let name = format!("Ctrl-{}", letter.to_ascii_uppercase());
        Some(format!(
            "keys: {name} x ends the VM, {name} p presses its power button (so does Ctrl-C), {name} c sends \
             it Ctrl-C, {name} z Ctrl-Z, {name} \\ Ctrl-\\, {name} {letter} {name}, {name} h says this"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Key, Keys};

    fn typed(escape: Option<u8>, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::new(escape);
        bytes.iter().map(|byte| keys.take(*byte)).filter(|key| *key != Key::Begun).collect()
    }

    #[test]
    fn every_byte_but_the_escape_key_reaches_the_guest_as_it_was_typed() {
        let all: Vec<u8> = (0..=255).collect();
        let as_typed: Vec<Key> = all.iter().map(|byte| Key::Byte(*byte)).collect();
        assert_eq!(typed(None, &all), as_typed);
        // Behind the escape key, the key of the next value is the command of an unknown key.
        let others: Vec<u8> = all.into_iter().filter(|byte| *byte != 1).collect();
        let as_typed: Vec<Key> = others.iter().map(|byte| Key::Byte(*byte)).collect();
        assert_eq!(typed(Some(1), &others), as_typed);
    }

    #[test]
    fn the_escape_key_and_another_one_are_a_command_or_a_byte_that_a_terminal_keeps() {
        for (second, meaning) in [
            (b'x', Key::Command(Command::End)),
            (b'p', Key::Command(Command::PowerButton)),
            (b'h', Key::Command(Command::Help)),
            (b'?', Key::Command(Command::Help)),
            (b'c', Key::Byte(3)),
            (b'z', Key::Byte(26)),
            (b'\\', Key::Byte(28)),
            (b'b', Key::Byte(2)),
            (2, Key::Byte(2)),
        ] {
            assert_eq!(typed(Some(2), &[2, second, b'q']), [meaning, Key::Byte(b'q')]);
        }
    }

    #[test]
    fn the_help_names_the_key_that_was_chosen() {
        assert!(Keys::new(Some(1)).help().unwrap().contains("Ctrl-A x"));
        assert!(Keys::new(Some(20)).help().unwrap().contains("Ctrl-T t Ctrl-T"));
        assert_eq!(Keys::new(None).help(), None);
    }
}
