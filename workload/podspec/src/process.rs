//! What is run in a container: program, arguments, user, and what may be run beside it.

use crate::env::Environment;
use crate::image::Image;
use crate::reader::Reader;
use crate::security::Security;
use crate::yaml::Value;
use casemate_pod::{Signal, User};

/// A list of texts.
pub(crate) fn texts(reader: &mut Reader<'_>, value: &Value, field: &str) -> Vec<String> {
    let list = reader.list(value, field);
    list.iter().filter_map(|one| reader.text(one, field)).collect()
}

/// Program and arguments: the pod's `command` in place of the image's entrypoint and command, its
/// `args` in place of the command alone.
pub(crate) fn arguments(
    reader: &mut Reader<'_>,
    container: &Value,
    at: &str,
    image: Option<&Image>,
    env: &Environment,
) -> Vec<String> {
    let mut written = |key: &str| {
        let field = format!("{at}.{key}");
        let value = container.get(key)?;
        reader.findings.bound(value.line, &field, "exact");
        let mut all = Vec::new();
        for text in texts(reader, value, &field) {
            match env.expand(&text) {
                Ok(text) => all.push(text),
                Err(name) => {
                    let why = format!("names $({name}), whose value is not known here");
                    reader.findings.refuse(value.line, &field, why);
                }
            }
        }
        // What is empty counts as not written.
        Some(all).filter(|all| !all.is_empty())
    };
    let (command, args) = (written("command"), written("args"));
    let of_image = image.map(|image| &image.process);
    let (entrypoint, cmd) = match (command, of_image) {
        (Some(command), _) => (command, Vec::new()),
        (None, Some(process)) => (process.entrypoint.clone(), process.cmd.clone()),
        (None, None) => (Vec::new(), Vec::new()),
    };
    let all: Vec<String> = entrypoint.into_iter().chain(args.unwrap_or(cmd)).collect();
    if all.is_empty() && image.is_some() {
        let why = "nothing says what to run: neither the pod nor the image";
        reader.findings.refuse(container.line, &format!("{at}.command"), why);
    }
    all
}

/// Says so when a program is not in the image: it may come from a volume, or be a mistake.
pub(crate) fn look_for(
    reader: &mut Reader<'_>,
    line: usize,
    at: &str,
    (args, cwd): (&[String], &str),
    image: &Image,
    env: &Environment,
) {
    let Some(program) = args.first() else { return };
    let absolute = |path: &str| match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", cwd.trim_end_matches('/')),
    };
    let found = if program.contains('/') {
        image.runs(&absolute(program))
    } else {
        let mut folders = env.value("PATH").unwrap_or_default().split(':').take(256);
        folders.any(|folder| image.runs(&absolute(&format!("{folder}/{program}"))))
    };
    if !found {
        let why = format!("the program {program} is not in the image: it must be in a volume");
        reader.findings.bound(line, &format!("{at}.command"), why);
    }
}

/// The user by numbers, and the home that `HOME` is set to.
///
/// As the kubelet has it: of the image's user only the name or number counts, and the group is the
/// one of its entry, unless the pod says one.
pub(crate) fn user(
    reader: &mut Reader<'_>,
    container: &Value,
    at: &str,
    image: &Image,
    security: &Security,
) -> (User, String) {
    let of_image = image.process.user.split(':').next().unwrap_or_default().to_owned();
    let written = security.uid.map_or(of_image, |uid| uid.to_string());
    let field = format!("{at}.securityContext.runAsUser");
    let found = match image.user(&written) {
        Ok(found) => found,
        Err(error) => {
            reader.findings.refuse(container.line, &field, error.to_string());
            return (User { uid: 0, gid: 0, groups: Vec::new() }, "/".into());
        }
    };
    let uid = found.user.uid;
    if uid == 0 && security.non_root {
        let why = "runAsNonRoot is true, and the user is root";
        reader.findings.refuse(container.line, &field, why);
    }
    let gid = security.gid.unwrap_or(found.user.gid);
    let mut groups: Vec<u32> = found.user.groups.iter().chain(&security.groups).copied().collect();
    groups.sort_unstable();
    groups.dedup();
    (User { uid, gid, groups }, found.home.unwrap_or_else(|| "/".into()))
}

/// The signal that asks a program of the image to end.
pub(crate) fn stop_signal(image: &Image) -> Option<Signal> {
    let word = image.process.stop_signal.as_str();
    match word {
        "" => Some(Signal::TERM),
        word => match word.parse().ok().and_then(Signal::from_number) {
            Some(signal) => Some(signal),
            None => word.strip_prefix("SIG").unwrap_or(word).parse().ok(),
        },
    }
}

/// What programs are run by, and what comes by the network or the clock.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
/// When and how often, which is the host's.
const TIMES: [&str; 6] = [
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationGracePeriodSeconds",
];

/// Refuses what a probe or hook says that is not known here.
fn known(reader: &mut Reader<'_>, value: &Value, field: &str, hook: bool) {
    let times: &[&str] = if hook { &[] } else { &TIMES };
    reader.only(value, field, &[&HANDLERS[..], times].concat());
    if HANDLERS.iter().filter(|how| value.get(how).is_some()).count() > 1 {
        reader.findings.refuse(value.line, field, "is of more than one kind");
    }
    let Some(exec) = value.get("exec") else { return };
    reader.only(exec, &format!("{field}.exec"), &["command"]);
    // The kubelet replaces variables in commands of probes, and in those of hooks it does not.
    let command = exec.get("command").and_then(Value::list).unwrap_or_default();
    let replaced = |text: &str| !hook && (text.contains("$(") || text.contains("$$"));
    for one in command.iter().filter(|one| one.text().is_some_and(replaced)) {
        let why = "names a variable, which a node would replace: write what it stands for";
        reader.findings.refuse(one.line, field, why);
    }
}

/// Probes and hooks: those that run a program are listed, others come by the network.
pub(crate) fn probes(reader: &mut Reader<'_>, container: &Value, at: &str) -> Vec<Vec<String>> {
    let mut exec: Vec<Vec<String>> = Vec::new();
    let lifecycle = container.get("lifecycle");
    if let Some(lifecycle) = lifecycle {
        // `stopSignal` among them: the image's counts, or the choice `signals`.
        reader.only(lifecycle, &format!("{at}.lifecycle"), &["postStart", "preStop"]);
    }
    let hooks = ["postStart", "preStop"].map(|key| {
        (format!("lifecycle.{key}"), lifecycle.and_then(|lifecycle| lifecycle.get(key)))
    });
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"]
        .map(|key| (key.to_owned(), container.get(key)));
    for (key, value) in probes.into_iter().chain(hooks) {
        let Some(value) = value else { continue };
        let field = format!("{at}.{key}");
        known(reader, value, &field, key.starts_with("lifecycle"));
        if let Some(command) = value.get("exec").and_then(|exec| exec.get("command")) {
            let args = texts(reader, command, &field);
            let why = "may be run, with exactly these arguments; when is the host's";
            reader.findings.bound(value.line, &field, why);
            if !exec.contains(&args) {
                exec.push(args);
            }
        } else if ["httpGet", "tcpSocket", "grpc"].iter().any(|how| value.get(how).is_some()) {
            let why = "comes by the network, like any other request";
            reader.findings.open(value.line, &field, why);
        } else if value.get("sleep").is_some() {
            reader.findings.outside(value.line, &field, "is the host's clock");
        } else {
            reader.findings.refuse(value.line, &field, "is of a kind that is not known here");
        }
    }
    exec
}
