//! Writing: the one spelling of a manifest.
//!
//! A key a line, in the order below; lists of long things an entry a line; nothing for what is
//! empty or false, except where a reader would have to wonder. No comment, no blank but one between
//! parts.

use crate::container::Container;
use crate::pod::{Dns, Pod};
use crate::volume::{Source, Volume};
use crate::wire::OPEN;
use crate::{LAYOUT, Manifest, VERSION};
use std::fmt::{Display, Write};

/// The text. What it is of was checked.
pub(crate) fn text(manifest: &Manifest) -> String {
    let mut out = Text(format!("version = {VERSION}\nlayout = {LAYOUT}\n"));
    out.list("layers", &manifest.layers, true);
    out.pod(&manifest.pod);
    for container in &manifest.containers {
        out.container(container);
    }
    for volume in &manifest.volumes {
        out.volume(volume);
    }
    out.0
}

struct Text(String);

impl Text {
    fn line(&mut self, line: impl Display) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn word(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {}", quoted(&value.to_string())));
    }

    /// A list of texts: an entry a line where `lines` says so.
    fn list<T: Display>(&mut self, key: &str, list: &[T], lines: bool) {
        let all: Vec<String> = list.iter().map(|one| quoted(&one.to_string())).collect();
        if lines && !all.is_empty() {
            self.line(format_args!("{key} = [\n{},\n]", all.join(",\n")));
        } else {
            self.line(format_args!("{key} = [{}]", all.join(", ")));
        }
    }

    /// A list that is not written when it is empty.
    fn some<T: Display>(&mut self, key: &str, list: &[T]) {
        if !list.is_empty() {
            self.list(key, list, false);
        }
    }

    fn numbers<T: Display>(&mut self, key: &str, list: &[T]) {
        let all: Vec<String> = list.iter().map(ToString::to_string).collect();
        self.line(format_args!("{key} = [{}]", all.join(", ")));
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.line(format_args!("{key} = true"));
        }
    }

    fn pod(&mut self, pod: &Pod) {
        self.line("\n[pod]");
        if let Some(hostname) = &pod.hostname {
            self.word("hostname", hostname);
        }
        let open = [matches!(pod.dns, Dns::Open), pod.hostname.is_none(), pod.net, pod.services];
        let open = OPEN.iter().zip(open).filter(|(_, open)| *open).map(|(word, _)| *word);
        self.list("open", &open.collect::<Vec<_>>(), false);
        self.numbers("vcpus", &pod.vcpus);
        self.some("secrets_after", &pod.secrets_after);
        let hosts: Vec<String> = pod.hosts.iter().map(crate::HostAlias::line).collect();
        self.some("hosts", &hosts);
        if let Dns::Fixed(resolver) = &pod.dns {
            self.line("\n[pod.dns]");
            self.list("nameservers", &resolver.nameservers, false);
            self.list("searches", &resolver.searches, false);
            self.list("options", &resolver.options, false);
        }
    }

    fn container(&mut self, container: &Container) {
        self.line("\n[[container]]");
        self.word("name", &container.name);
        self.word("kind", container.kind);
        self.numbers("layers", &container.layers);
        self.list("args", &container.args, false);
        self.word("cwd", &container.cwd);
        self.line(format_args!("user = {}", container.user.uid));
        self.line(format_args!("group = {}", container.user.gid));
        if !container.user.groups.is_empty() {
            self.numbers("groups", &container.user.groups);
        }
        self.some("caps", &container.caps);
        self.flag("new_privileges", container.new_privileges);
        self.word("root", container.root);
        self.some("tmpfs", &container.tmpfs);
        self.some("env", &container.env);
        self.some("env_open", &container.env_open);
        self.word("stdio", container.stdio);
        if !container.exec.is_empty() {
            let one = |args: &Vec<String>| {
                let all: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
                format!("[{}]", all.join(", "))
            };
            let all: Vec<String> = container.exec.iter().map(one).collect();
            self.line(format_args!("exec = [{}]", all.join(", ")));
        }
        self.some("signals", &container.signals);
        self.flag("restart", container.restart);
    }

    fn volume(&mut self, volume: &Volume) {
        self.line("\n[[volume]]");
        self.word("name", &volume.name);
        self.word("kind", volume.source.kind());
        self.list("mounts", &volume.mounts, false);
        match &volume.source {
            Source::HostFiles(files) => {
                self.flag("executable", files.executable);
                let all = files.hashes.iter();
                let all = all.map(|(name, hash)| format!("{} = \"{hash}\"", quoted(name)));
                let all: Vec<String> = all.collect();
                self.line(format_args!("files = {{ {} }}", all.join(", ")));
            }
            Source::OpenFiles { kib } => self.line(format_args!("kib = {kib}")),
            Source::Memory { size } | Source::Scratch { size } => {
                self.line(format_args!("mib = {}", size.get()));
            }
            Source::Disk { key } => self.word("key", key),
            Source::Secrets { names } => self.list("names", names, false),
        }
    }
}

/// A basic string of TOML 1.0: what must be escaped is, in one way, and nothing else.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
