//! Manual pages and completions of shells, of the same commands as `--help`: for packages.
//!
//! Only tests compile this, so that the program that ships has no generator in it and needs none of
//! its libraries. `CASEMATE_PAGES=DIRECTORY` names where `release/build` has them written.
//!
//! Protects who reads a page or presses the tabulator: every command has both, with each of its
//! options, and what is laid out by hand stays as it is. What the texts mean, no test can tell;
//! that `man` and the shells read them, `release/check` tries.

use super::Cli;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files by their places below a folder `share`.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Where each shell looks for the completions of a package.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/casemate"),
    (Shell::Fish, "fish/vendor_completions.d/casemate.fish"),
    (Shell::Zsh, "zsh/vendor-completions/_casemate"),
];

fn files() -> Files {
    let mut files = Files::new();
    let mut cli = Cli::command();
    cli.build();
    pages_of(&cli, &mut files);
    for (shell, place) in SHELLS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "casemate", &mut text);
        files.insert(place.into(), text);
    }
    files
}

fn pages_of(command: &Command, files: &mut Files) {
    let name = command.get_display_name().unwrap_or("casemate").to_owned();
    files.insert(Path::new("man/man1").join(format!("{name}.1")), page(command, &name));
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        pages_of(command, files);
    }
}

/// One page. A page has no date, so that the same source makes the same bytes.
fn page(command: &Command, name: &str) -> Vec<u8> {
    // The version is in the page's footer: of all commands the first one alone has `--version`.
    let man = Man::new(command.clone())
        .title(name)
        .source(concat!("casemate ", env!("CARGO_PKG_VERSION")))
        .manual("Casemate");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    let mut text = Roff::default();
    text.control("SH", ["DESCRIPTION"]);
    let about = command.get_long_about().or_else(|| command.get_about());
    as_written(&mut text, &about.map(ToString::to_string).unwrap_or_default());
    text.to_writer(&mut page).unwrap();
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page).unwrap();
    }
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    if let Some(after) = after {
        let mut text = Roff::default();
        sections(&mut text, &after.to_string());
        text.to_writer(&mut page).unwrap();
    }
    page
}

/// Text whose indented lines were laid out by hand: they stay lines. What clap joined to one line
/// is a paragraph.
fn as_written(out: &mut Roff, text: &str) {
    let mut by_hand = false;
    for line in text.lines() {
        let is_by_hand = line.starts_with("  ");
        if is_by_hand != by_hand {
            out.control(if is_by_hand { "nf" } else { "fi" }, []);
            by_hand = is_by_hand;
        }
        if line.trim().is_empty() {
            out.control("PP", []);
        } else {
            out.text([roman(line)]);
        }
    }
    if by_hand {
        out.control("fi", []);
    }
}

/// What stands below the options of `--help`. A line at the margin that ends with a colon begins a
/// section, as `Examples:`.
fn sections(out: &mut Roff, text: &str) {
    let mut below = String::new();
    let mut headed = false;
    for line in text.lines() {
        let heading = line.strip_suffix(':').filter(|line| !line.starts_with(' '));
        let Some(heading) = heading else {
            below.push_str(line);
            below.push('\n');
            continue;
        };
        section(out, &mut below, headed);
        out.control("SH", [heading.to_uppercase().as_str()]);
        headed = true;
    }
    section(out, &mut below, headed);
}

fn section(out: &mut Roff, text: &mut String, headed: bool) {
    let text = std::mem::take(text);
    if text.trim().is_empty() {
        return;
    }
    if !headed {
        out.control("SH", ["NOTES"]);
    }
    as_written(out, text.trim_matches('\n'));
}

#[test]
fn every_command_has_a_page_with_each_of_its_options_and_examples() {
    fn look(command: &Command, files: &Files) -> usize {
        let name = command.get_display_name().unwrap_or("casemate");
        let page = &files[&Path::new("man/man1").join(format!("{name}.1"))];
        let page = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for long in shown.filter_map(|argument| argument.get_long()) {
            assert!(page.contains(&format!("--{long}")), "{name}: --{long}");
        }
        assert!(page.contains("\n.SH EXAMPLES\n.nf\n"), "{name}: {page}");
        let below = command.get_subcommands().filter(|command| command.get_name() != "help");
        1 + below.map(|command| look(command, files)).sum::<usize>()
    }
    let mut cli = Cli::command();
    cli.build();
    let looked = look(&cli, &files());
    assert!(looked > 20, "{looked}");
}

#[test]
fn every_shell_completes_every_command() {
    let files = files();
    for (shell, place) in SHELLS {
        let text = String::from_utf8(files[Path::new(place)].clone()).unwrap();
        for command in Cli::command().get_subcommands() {
            assert!(text.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}

/// Beside what it protects, the way in which packages get their pages.
#[test]
fn the_same_source_makes_the_same_pages() {
    let files = files();
    assert_eq!(files, self::files());
    let Some(folder) = std::env::var_os("CASEMATE_PAGES").map(PathBuf::from) else { return };
    for (place, contents) in files {
        let file = folder.join(place);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, contents).unwrap();
    }
}
