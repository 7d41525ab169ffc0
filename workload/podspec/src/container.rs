//! A container of the pod.

use crate::choices::{Chosen, ContainerChoices};
use crate::env::{self, Environment};
use crate::image::Image;
use crate::process;
use crate::reader::Reader;
use crate::security::{self, Security};
use crate::yaml::{Key, Value};
use casemate_pod::{Container, Kind, Mebibytes, Root, Signal, Stdio};

/// What a container may write over its image where nothing else is chosen, in MiB of memory.
const WRITABLE: u32 = 64;

/// Reads one; `restart` is the pod's word.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    value: &Value,
    kind: Kind,
    restart: bool,
    pod: &Security,
) -> Option<Container> {
    let list = if kind == Kind::Main { "containers" } else { "initContainers" };
    let Some(name) = value.get("name").and_then(Value::text).map(str::to_owned) else {
        reader.findings.refuse(value.line, list, "has a container without a name");
        return None;
    };
    let at = format!("{list}[{name}]");
    let (kind, restart) = match (kind, value.get("restartPolicy").and_then(Value::text)) {
        (Kind::Init, Some("Always")) => (Kind::Sidecar, true),
        (Kind::Init, _) => (Kind::Init, false),
        (kind, _) => (kind, restart),
    };
    let why = format!("of kind {kind}: its place in the order is bound");
    reader.findings.bound(value.line, &at, why);
    let choices = reader.choices;
    let nothing = ContainerChoices::default();
    let own = choices.container.get(&name).unwrap_or(&nothing);
    let chosen = own.chosen().unwrap_or_else(|why| {
        reader.findings.refuse(0, &at, format!("the choices: {why}"));
        Chosen::default()
    });
    for (key, value) in reader.entries(value, &at) {
        field(reader, key, value, &at);
    }
    let security = security::of_container(reader, value, &at, pod);
    let images = reader.images;
    let image = image(reader, value, &at);
    let image = image.and_then(|name| images.get(&name));
    let (user, home) = match image {
        Some(image) => process::user(reader, value, &at, image, &security),
        None => (casemate_pod::User { uid: 0, gid: 0, groups: vec![] }, "/".into()),
    };
    let stdio = stdio(reader, value, &at, &chosen);
    let mut env = Environment::of_image(image.map_or(&[][..], |image| &image.process.env));
    env::read(reader, value, &at, &mut env);
    for open in &chosen.env_open {
        let why = format!("{} is chosen to be the host's: {}", open.name, open.value);
        reader.findings.open(0, &format!("{at}.env"), why);
        env.set_open(&open.name, open.value);
    }
    env.complete(&home, reader.hostname.as_deref(), stdio.terminal());
    let args = process::arguments(reader, value, &at, image, &env);
    let cwd = cwd(reader, value, &at, image);
    if let Some(image) = image {
        process::look_for(reader, value.line, &at, (&args, &cwd), image, &env);
    }
    let mut exec = process::probes(reader, value, &at);
    for args in own.exec.iter().filter(|args| !exec.contains(args)).cloned().collect::<Vec<_>>() {
        reader.findings.bound(0, &format!("{at}.exec"), "may be run, as chosen");
        exec.push(args);
    }
    let limits = value.get("resources").and_then(|resources| resources.get("limits"));
    reader.limit(&name, limits.and_then(|limits| limits.get("memory")));
    let (env, env_open) = env.lines();
    Some(Container {
        kind,
        layers: layers(reader, image),
        args,
        cwd,
        user,
        caps: security.caps.clone(),
        new_privileges: security.new_privileges.unwrap_or(true),
        root: root(reader, value.line, &at, &security, &chosen),
        tmpfs: chosen.tmpfs.clone(),
        env,
        env_open,
        stdio,
        exec,
        signals: signals(reader, value.line, &at, image, &chosen),
        restart,
        name,
    })
}

/// The image's name, and what is said of it.
fn image(reader: &mut Reader<'_>, value: &Value, at: &str) -> Option<String> {
    let field = format!("{at}.image");
    let Some(image) = value.get("image") else {
        reader.findings.refuse(value.line, &field, "is missing");
        return None;
    };
    let name = image.text()?.to_owned();
    match reader.images.get(&name) {
        Some(image_) => {
            let why = format!("{} layers, each by its root hash; the name is the host's", {
                image_.layers.len()
            });
            reader.findings.bound(image.line, &field, why);
        }
        None => {
            let why = format!("is not given: --image {name}=FILE");
            reader.findings.refuse(image.line, &field, why);
        }
    }
    Some(name)
}

/// Numbers of the image's layers, which are added where no container before has them.
fn layers(reader: &mut Reader<'_>, image: Option<&Image>) -> Vec<u16> {
    let mut numbers = Vec::new();
    for layer in image.map_or(&[][..], |image| &image.layers) {
        let known = reader.layers.iter().position(|one| one == layer);
        let number = known.unwrap_or(reader.layers.len());
        if known.is_none() {
            reader.layers.push(*layer);
        }
        // More than a manifest may have: its own check says so.
        numbers.push(u16::try_from(number).unwrap_or(u16::MAX));
    }
    numbers
}

fn cwd(reader: &mut Reader<'_>, value: &Value, at: &str, image: Option<&Image>) -> String {
    let written = value.get("workingDir").and_then(|dir| {
        reader.findings.bound(dir.line, &format!("{at}.workingDir"), "exact");
        reader.text(dir, &format!("{at}.workingDir"))
    });
    let of_image = image.map(|image| image.process.working_dir.clone());
    let cwd = written.or(of_image).unwrap_or_default();
    match cwd.trim_end_matches('/') {
        "" => "/".into(),
        cwd => cwd.to_owned(),
    }
}

fn stdio(reader: &mut Reader<'_>, value: &Value, at: &str, chosen: &Chosen) -> Stdio {
    let mut flag = |key: &str| value.get(key).is_some_and(|flag| reader.flag(flag, at));
    let (stdin, tty) = (flag("stdin"), flag("tty"));
    let stdio = chosen.stdio.unwrap_or(Stdio::None);
    let field = format!("{at}.stdio");
    if stdin && !stdio.input() || tty != stdio.terminal() {
        let why = format!(
            "stdin or tty of the pod and stdio = \"{stdio}\" of the choices are not the same thing"
        );
        reader.findings.refuse(value.line, &field, why);
    }
    match stdio.output() {
        true => reader.findings.open(0, &field, "the host reads what it prints (kubectl logs)"),
        false => {
            let why = "the host reads nothing of what it prints: choose stdio = \"out\" for logs";
            reader.findings.bound(0, &field, why);
        }
    }
    if stdio.input() {
        reader.findings.open(0, &field, "the host writes its input");
    }
    stdio
}

fn root(
    reader: &mut Reader<'_>,
    line: usize,
    at: &str,
    security: &Security,
    chosen: &Chosen,
) -> Root {
    let field = format!("{at}.root");
    let usual = || Mebibytes::new(WRITABLE).map_or(Root::ReadOnly, Root::Memory);
    match (security.read_only, chosen.root) {
        (true, None | Some(Root::ReadOnly)) => Root::ReadOnly,
        (false, None) => {
            let why = "what it writes is in 64 MiB of the guest's memory, and lost with it";
            reader.findings.bound(0, &field, why);
            usual()
        }
        (false, Some(root)) if root != Root::ReadOnly => root,
        (_, Some(root)) => {
            let why = "readOnlyRootFilesystem and the choices do not say the same";
            reader.findings.refuse(line, &field, why);
            root
        }
    }
}

fn signals(
    reader: &mut Reader<'_>,
    line: usize,
    at: &str,
    image: Option<&Image>,
    chosen: &Chosen,
) -> Vec<Signal> {
    let mut signals = match (&chosen.signals, image) {
        (Some(signals), _) => signals.clone(),
        (None, None) => Vec::new(),
        (None, Some(image)) => match process::stop_signal(image) {
            Some(signal) => vec![signal, Signal::KILL],
            None => {
                let why = "the image's stop signal is none that is known here";
                reader.findings.refuse(line, &format!("{at}.image"), why);
                Vec::new()
            }
        },
    };
    signals.sort_unstable();
    signals.dedup();
    signals
}

/// What of a container's fields is not looked at elsewhere.
fn field(reader: &mut Reader<'_>, key: &Key, value: &Value, at: &str) {
    let field = format!("{at}.{}", key.name);
    match key.name.as_str() {
        "name" | "image" | "command" | "args" | "workingDir" | "env" | "envFrom"
        | "volumeMounts" | "volumeDevices" | "livenessProbe" | "readinessProbe"
        | "startupProbe" | "lifecycle" | "securityContext" => {}
        "stdin" | "tty" => reader.findings.bound(key.line, &field, "as stdio says"),
        "stdinOnce" => reader.findings.outside(key.line, &field, "when input ends is the host's"),
        "restartPolicy" => match value.text() {
            Some("Always") if at.starts_with("init") => {
                reader.findings.bound(key.line, &field, "it is a sidecar");
            }
            _ => reader.findings.refuse(key.line, &field, "is not known here"),
        },
        "ports" => {
            let why = "which ports are reached is the network's, and so the host's";
            reader.findings.open(key.line, &field, why);
        }
        "imagePullPolicy" | "resizePolicy" | "terminationMessagePolicy" => {
            reader.findings.outside(key.line, &field, "is for the node");
        }
        "terminationMessagePath" => {
            reader.findings.outside(key.line, &field, "nothing that is written there is read");
        }
        "resources" => resources(reader, value, &field),
        _ => {
            let why = "is not known here, so it cannot be said what would follow from it";
            reader.findings.refuse(key.line, &field, why);
        }
    }
}

/// Amounts are the host's: a guest with too little of them cannot do its work, and nothing else.
/// What is no amount of these is a device.
fn resources(reader: &mut Reader<'_>, value: &Value, at: &str) {
    for (key, value) in reader.entries(value, at) {
        if key.name == "claims" {
            let why = "cannot be bound: they are devices of the host";
            reader.findings.refuse(key.line, at, why);
            continue;
        }
        for (name, _) in reader.entries(value, at) {
            let field = format!("{at}.{}.{}", key.name, name.name);
            match name.name.as_str() {
                "cpu" | "memory" | "ephemeral-storage" => {
                    let why = "how much the guest gets is the host's; it may starve it";
                    reader.findings.outside(name.line, &field, why);
                }
                other if other.starts_with("hugepages-") => {
                    reader.findings.outside(name.line, &field, "the guest has its own pages");
                }
                _ => {
                    let why = "cannot be bound: it is a device of the host";
                    reader.findings.refuse(name.line, &field, why);
                }
            }
        }
    }
}
