//! The kernel command line, read once and as Linux reads it.
//!
//! Every rule on the command line, `run` and `eval` look at this reading and at no other: where two
//! readers take a line apart differently, a word can be a parameter for one and part of a value for
//! the other. The rules are those of Linux's `lib/cmdline.c` (`next_arg`) and `kernel/params.c`
//! (`parse_args`), and are compared with a booted kernel by an end-to-end test:
//!
//! - White space divides, outside double quotes; that is what `isspace` says of a byte: tab to
//!   carriage return, blank, and 0xa0.
//! - One pair of quotes around a word, or around a value, goes away. Other quotes only keep white
//!   space.
//! - A value begins after the first `=` that is not the first character.
//! - `-` and `_` are the same in a parameter's name (`parameq`).
//! - The word `--` ends the kernel's parameters. What follows are arguments of init.
//! - Of a parameter that is given twice, the last counts.
//!
//! The kernel's own readers are not the only ones, so a line has three views, see [`CommandLine`].

use std::collections::BTreeMap;

/// Longest line in bytes: x86 has 2048 with the final zero (`COMMAND_LINE_SIZE`), and cuts what is
/// longer.
pub const MAX_LINE: usize = 2047;
/// The word that ends the kernel's parameters; what follows are arguments of init.
const SEPARATOR: &str = "--";

/// Parameters that x86 code of Linux looks for by itself, before and beside `parse_args`
/// (`cmdline_find_option`, in 6.12, and `microcode` and `predictive_store_fwd_disable` of later
/// kernels). It cuts the line at white space, knows neither quotes nor `--`, and compares names
/// letter by letter.
const FOUND_BY_X86: &[&str] = &[
    "acpi",
    "acpi_rsdp",
    "clearcpuid",
    "dis_ucode_ldr",
    "earlyprintk",
    "fred",
    "mem_encrypt",
    "microcode",
    "microcode.amd_sha_check",
    "no387",
    "no5lvl",
    "nofxsr",
    "nokaslr",
    "nospec_store_bypass_disable",
    "nospectre_v2",
    "nousershstk",
    "noxsave",
    "noxsaveopt",
    "noxsaves",
    "predictive_store_fwd_disable",
    "spec_store_bypass_disable",
    "spectre_v2",
    "spectre_v2_user",
    "split_lock_detect",
    "tsx",
];

/// A command line and what its readers make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    line: Box<str>,
    words: Box<[Box<str>]>,
    seen: Box<[Box<str>]>,
    taken: Box<[Box<str>]>,
}

/// Why a text is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// The kernel would cut it, and nobody would be told.
    #[error("{0} bytes are more than the {MAX_LINE} of a kernel command line")]
    TooLong(usize),
    /// The kernel's line ends at a zero.
    #[error("a command line cannot contain a zero byte")]
    Zero,
}

impl CommandLine {
    /// Reads a line.
    ///
    /// # Errors
    /// [`CommandLineError`] for what the kernel would not read to its end.
    pub fn parse(line: &str) -> Result<Self, CommandLineError> {
        if line.len() > MAX_LINE {
            return Err(CommandLineError::TooLong(line.len()));
        }
        if line.contains('\0') {
            return Err(CommandLineError::Zero);
        }
        // Four readings of one line: the kernel's, that of who cuts at every blank, and those of
        // who drops every quote, double ones alone or single ones as well.
        let words = words(line.as_bytes());
        let plain: Vec<&str> = plain(line).collect();
        let taken = taken(&words, &plain);
        // Every word of any reading is seen, once. A rule that forbids a word has to forbid it to
        // every reader.
        let mut seen = words.clone();
        let bare = ["\"", "\"'"].into_iter().flat_map(|quotes| bare(line, quotes));
        for word in plain.iter().map(|word| canonical(word)).chain(bare) {
            if !seen.contains(&word) {
                seen.push(word);
            }
        }
        Ok(Self { line: line.into(), words: words.into(), seen: seen.into(), taken: taken.into() })
    }

    /// The line of these words, quoted where that is needed. A word that no line can have (quotes
    /// and blanks that do not go together) becomes what the kernel would make of it.
    ///
    /// # Errors
    /// [`CommandLineError`].
    pub fn of_words<'w>(
        words: impl IntoIterator<Item = &'w str>,
    ) -> Result<Self, CommandLineError> {
        let pieces: Vec<String> = words.into_iter().map(quoted).collect();
        Self::parse(&pieces.join(" "))
    }

    /// The line itself.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The words as the kernel takes the line apart, with `--` and what follows it: every one of
    /// them is somebody's. In names, `-` is written `_`.
    #[must_use]
    pub fn words(&self) -> &[Box<str>] {
        &self.words
    }

    /// [`Self::words`], and what others read in the line: programs of the guest (an initramfs,
    /// systemd, scripts) and x86 code of the kernel cut it at every blank, whatever stands in
    /// quotes, or drop every quote.
    #[must_use]
    pub fn seen(&self) -> &[Box<str>] {
        &self.seen
    }

    /// The words that are in force as kernel parameters: before `--`, and the last of their name. A
    /// parameter that x86 code looks for by rules of its own is one only when both readings agree.
    #[must_use]
    pub fn taken(&self) -> &[Box<str>] {
        &self.taken
    }
}

/// `isspace` of the kernel's table of characters (`lib/ctype.c`), which is Latin-1.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// Where the value of a word begins, less one: at the first `=` that is not its first character.
fn equals(word: &[u8]) -> Option<usize> {
    // From the second character on: `=x` is a word whose name is `=x` (`next_arg` skips a first
    // `=`).
    let rest = word.get(1..)?;
    rest.iter().position(|byte| *byte == b'=').map(|at| at + 1)
}

/// A word as rules know it: with `_` for `-` in its name. Only `--` itself stays as it is.
pub(crate) fn canonical(word: &str) -> Box<str> {
    if word == SEPARATOR {
        return word.into();
    }
    let (name, value) = word.split_at(equals(word.as_bytes()).unwrap_or(word.len()));
    format!("{}{value}", name.replace('-', "_")).into()
}

/// The word that a policy means: written as rules know words. It may be quoted as in a line; all
/// quotes that the kernel would drop are dropped, so that what is written out again means the same.
pub(crate) fn word(text: &str) -> Box<str> {
    let mut word = canonical(text);
    // As often as it gets shorter: a word may have been quoted more than once, and what is written
    // out is read again.
    while let [shorter] = words(word.as_bytes()).as_slice()
        && shorter.len() < word.len()
    {
        word = shorter.clone();
    }
    word
}

/// What words that a policy means begin with. A prefix that ends in the name is written as names
/// are.
pub(crate) fn prefix(text: &str) -> Box<str> {
    // As `canonical`, but `--` is no separator here: it may be the beginning of a longer word.
    let (name, value) = text.split_at(equals(text.as_bytes()).unwrap_or(text.len()));
    format!("{}{value}", name.replace('-', "_")).into()
}

/// The kernel's words (`parse_args`).
fn words(line: &[u8]) -> Vec<Box<str>> {
    let mut rest = line.trim_start();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (word, behind) = next_word(rest);
        out.push(canonical(&String::from_utf8_lossy(&word)));
        rest = behind;
    }
    out
}

/// `skip_spaces`, by the kernel's table.
trait TrimStart {
    fn trim_start(&self) -> &Self;
}

impl TrimStart for [u8] {
    fn trim_start(&self) -> &[u8] {
        let spaces = self.iter().take_while(|byte| is_space(**byte)).count();
        self.get(spaces..).unwrap_or_default()
    }
}

/// One step of `next_arg`: the word without the quotes that it drops, and what is behind it.
/// Written after what that function says, not after how: there it overwrites the line with zeros.
fn next_word(text: &[u8]) -> (Vec<u8>, &[u8]) {
    // `next_arg`: a quote in front is dropped, and the word then is in quotes until the next one.
    let (is_quoted, text) = match text.strip_prefix(b"\"") {
        Some(behind) => (true, behind),
        None => (false, text),
    };
    let mut in_quotes = is_quoted;
    // Quotes inside keep white space and stay in the word, as they do in the kernel.
    let ends = |byte: &u8| {
        if *byte == b'"' {
            in_quotes = !in_quotes;
        }
        is_space(*byte) && !in_quotes
    };
    let end = text.iter().position(ends).unwrap_or(text.len());
    let (raw, behind) = text.split_at(end);
    // A closing quote goes with an opening one only. Which of them that is, is decided below: in
    // front of the word, or of its value.
    let closed = raw.strip_suffix(b"\"");
    let word = match equals(raw).map(|at| raw.split_at(at + 1)) {
        // A quote in front of the value goes away, and one at its end with it. They may be the same
        // one.
        Some((name, value)) => match value.strip_prefix(b"\"") {
            Some(open) => [name, open.strip_suffix(b"\"").unwrap_or(open)].concat(),
            None => if is_quoted { closed.unwrap_or(raw) } else { raw }.to_vec(),
        },
        None => if is_quoted { closed.unwrap_or(raw) } else { raw }.to_vec(),
    };
    (word, behind.trim_start())
}

/// The words of who cuts at every blank and control character (`myisspace` of
/// arch/x86/lib/cmdline.c).
fn plain(line: &str) -> impl Iterator<Item = &str> {
    // Every control character as well as the blank (`myisspace`: `c <= ' '`), but not 0xa0.
    line.split(|c: char| c <= ' ').filter(|word| !word.is_empty())
}

/// The words of who drops every one of these quotes, as shells do and systemd (`extract_first_word`
/// in src/basic/proc-cmdline.c: either kind, wherever it stands, and backslashes stay).
fn bare(line: &str, quotes: &str) -> Vec<Box<str>> {
    let mut words = vec![String::new()];
    // Over the whole line, not word by word: in shells a quote may begin in the middle of a word
    // and end in another.
    // Between two quotes of a kind the other kind is a character as any.
    let mut open = None;
    for c in line.chars() {
        match c {
            c if open == Some(c) => open = None,
            c if open.is_none() && quotes.contains(c) => open = Some(c),
            c if c <= ' ' && open.is_none() => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.iter().filter(|word| !word.is_empty()).map(|word| canonical(word)).collect()
}

/// What tells parameters apart: the name. `ro` and `rw` set one variable (init/do_mounts.c).
pub(crate) fn parameter(word: &str) -> &str {
    match word.split_at(equals(word.as_bytes()).unwrap_or(word.len())).0 {
        "rw" => "ro",
        name => name,
    }
}

fn taken(words: &[Box<str>], plain: &[&str]) -> Vec<Box<str>> {
    // The first `--` ends the kernel's parameters; collecting into a map keeps the last of each
    // name.
    let parameters = words.iter().take_while(|word| ***word != *SEPARATOR);
    let last: BTreeMap<&str, &Box<str>> = parameters.map(|word| (parameter(word), word)).collect();
    let agreed = |name: &str, word: &str| {
        // From the end: x86's own search takes the last of a name as well, but over the whole line,
        // `--` and quotes unseen.
        let found = plain.iter().rev().find(|found| parameter(found) == name);
        !FOUND_BY_X86.contains(&name) || found == Some(&word)
    };
    let in_force = last.into_iter().filter(|(name, word)| agreed(name, word));
    in_force.map(|(_, word)| word.clone()).collect()
}

/// The word as it can stand in a line, before others.
fn quoted(word: &str) -> String {
    let (name, value) = word.split_at(equals(word.as_bytes()).map_or(word.len(), |at| at + 1));
    // In the order of how little is added. Whether a way works is asked of the reader above, not
    // derived.
    let ways = [
        word.to_owned(),
        format!("{name}\"{value}\""),
        format!("\"{word}\""),
        format!("\"{name}\"{value}\""),
    ];
    // A word behind it, since quotes that do not go together would swallow it.
    let wanted = [canonical(word), "x".into()];
    let works = |way: &&String| words(format!("{way} x").as_bytes()) == wanted;
    ways.iter().find(works).or(ways.get(2)).cloned().unwrap_or_default()
}
