//! Protects who reads `--help`: every command's fits a narrow terminal and has examples, the
//! examples are commands that this program takes, and the configuration file that `run --help`
//! shows has every key with its true default. What the texts mean, no test can tell.

use super::Cli;
use clap::{Command, CommandFactory};

/// Two less than a terminal has that nobody made wider.
const WIDTH: usize = 78;

/// The long help of every command, with its name.
fn helps() -> Vec<(String, String)> {
    of_all(|command| command.render_long_help().to_string())
}

/// What `render` makes of every command, with its name.
fn of_all(render: fn(&mut Command) -> String) -> Vec<(String, String)> {
    type Found = Vec<(String, String)>;
    fn below(command: &Command, name: &str, render: fn(&mut Command) -> String, found: &mut Found) {
        found.push((name.to_owned(), render(&mut command.clone())));
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            below(command, &format!("{name} {}", command.get_name()), render, found);
        }
    }
    let mut cli = Cli::command();
    cli.build();
    let mut found = Vec::new();
    below(&cli, "casemate", render, &mut found);
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// The commands among the examples of a help text, without comments, each on one line.
fn examples(help: &str) -> Vec<String> {
    let Some((_, text)) = help.split_once("\nExamples:\n") else { return Vec::new() };
    let joined = text.replace("\\\n", "");
    let commands = joined.lines().map(str::trim).filter(|line| line.starts_with("casemate "));
    // A comment stands behind two spaces or more. So does what was on a continued line, but it
    // begins with a dash.
    let command = |line: &str| {
        let mut parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
        let first = parts.next().unwrap_or_default().to_owned();
        parts.take_while(|part| part.starts_with('-')).fold(first, |all, part| all + " " + part)
    };
    commands.map(command).collect()
}

#[test]
fn every_help_fits_a_narrow_terminal() {
    let short = of_all(|command| command.render_help().to_string());
    for (command, help) in helps().into_iter().chain(short) {
        for line in help.lines() {
            assert!(line.chars().count() <= WIDTH, "{command} --help: {line}");
        }
    }
}

/// The parser breaks a line that is too long, but where it likes: what is laid out by hand must
/// fit as it is written.
#[test]
fn what_is_laid_out_by_hand_fits_a_narrow_terminal() {
    fn below(command: &Command) {
        let by_hand = [command.get_after_help(), command.get_after_long_help()];
        for text in by_hand.into_iter().flatten().map(ToString::to_string) {
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{}: {line}", command.get_name());
            }
        }
        command.get_subcommands().for_each(below);
    }
    below(&Cli::command());
}

#[test]
fn every_command_has_examples_and_one_of_them_is_of_itself() {
    for (command, help) in helps() {
        let examples = examples(&help);
        assert!(examples.iter().any(|line| line.starts_with(&command)), "{command}: {examples:?}");
    }
}

/// The words of a command as a shell makes them, up to a redirection.
#[cfg(all(feature = "vm", feature = "image"))]
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    assert!(!quoted, "{line}");
    words.into_iter().take_while(|word| word != ">").filter(|word| !word.is_empty()).collect()
}

#[cfg(all(feature = "vm", feature = "image"))]
#[test]
fn every_example_is_a_command_that_this_program_takes() {
    use clap::Parser;
    let mut tried = 0;
    for (command, help) in helps() {
        for line in examples(&help) {
            let parsed = Cli::try_parse_from(words(&line));
            assert!(parsed.is_ok(), "{command} --help: {line}: {}", parsed.unwrap_err());
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

/// The `vm.toml` that `run --help` shows.
#[cfg(feature = "vm")]
fn configuration() -> String {
    let (_, help) = helps().into_iter().find(|(command, _)| command == "casemate run").unwrap();
    let (_, text) = help.split_once("\nConfiguration file").unwrap();
    let (_, text) = text.split_once('\n').unwrap();
    let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    lines.map(|line| format!("{}\n", line.trim())).collect()
}

/// Protects from a key that is read and that no one can know of.
#[cfg(feature = "vm")]
#[test]
fn configuration_in_the_help_has_every_key() {
    use casemate_hypervisor::config::{
        RawConfig, RawForeign, RawForward, RawRng, RawSnp, RawVsock,
    };
    let text = configuration();
    let raw = RawConfig::from_toml(&text, "run --help").unwrap_or_else(|e| panic!("{e}\n{text}"));
    // Without `..`: a new key does not compile until it is looked for here.
    let RawConfig {
        name: Some(_),
        kernel: Some(_),
        initrd: Some(_),
        cmdline: Some(_),
        vcpus: Some(_),
        memory: Some(_),
        console: Some(_),
        virtio_console: Some(_),
        console_wait: Some(_),
        console_limit: Some(_),
        escape: Some(_),
        timeout: Some(_),
        grace: Some(_),
        disk,
        vhost_user,
        vsock: Some(vsock),
        net,
        rng: Some(RawRng { trust_host: _ }),
        cgroup: Some(cgroup),
        protection: Some(_),
        snp: Some(snp),
        sandbox: Some(_),
    } = raw
    else {
        panic!("a key is missing: {text}")
    };
    has_every_key_of_cgroup(&cgroup);
    every_key_of_a_disk(&text, &disk);
    let [
        RawForeign { socket: Some(_), kind: Some(_), name: Some(_), queues: Some(_), mac: None },
        RawForeign { mac: Some(_), .. },
    ] = vhost_user.as_slice()
    else {
        panic!("a key of a foreign device is missing: {text}")
    };
    every_key_of_a_network_device(&text, &net);
    let RawVsock { cid: Some(_), path: Some(_), ports, forward, broker: None } = vsock else {
        panic!("a key of [vsock] is missing: {text}")
    };
    let [RawForward { path: Some(_), port: Some(_) }] = forward.as_slice() else {
        panic!("a key of a forward is missing: {text}")
    };
    assert!(!ports.is_empty(), "{text}");
    assert!(text.contains("\ntrust_host = "));
    assert!(text.contains("\nread_only = ") && text.contains("\ndirect = "));
    let RawSnp {
        policy: Some(_),
        host_data: Some(_),
        initdata: Some(_),
        id_block: Some(_),
        id_auth: Some(_),
        // No key of the file.
        id: None,
        author_key_enabled: Some(_),
        vcek_disabled: Some(_),
        vmsa_features: Some(_),
        c_bit: Some(_),
        expect_digest: Some(_),
        certs: Some(_),
    } = snp
    else {
        panic!("a key of [snp] is missing: {text}")
    };
}

#[cfg(feature = "vm")]
fn has_every_key_of_cgroup(cgroup: &casemate_hypervisor::config::RawCgroup) {
    let casemate_hypervisor::config::RawCgroup {
        directory: Some(_),
        cpu_weight: Some(_),
        cpu_percent: Some(_),
        memory: Some(_),
        pids: Some(_),
        process,
    } = cgroup
    else {
        panic!("a key of [cgroup] is missing: {cgroup:?}")
    };
    assert!(!process.is_empty(), "{cgroup:?}");
}

#[cfg(feature = "vm")]
fn every_key_of_a_disk(text: &str, disk: &[casemate_hypervisor::config::RawDisk]) {
    use casemate_hypervisor::config::RawDisk;
    let [
        RawDisk {
            path: Some(_),
            name: Some(_),
            read_only: _,
            direct: _,
            serial: Some(_),
            queues: Some(_),
            standby: Some(_),
            on_device_death: Some(_),
            bandwidth: Some(_),
            bandwidth_burst: Some(_),
            iops: Some(_),
            iops_burst: Some(_),
        },
    ] = disk
    else {
        panic!("a key of a disk is missing: {text}")
    };
}

#[cfg(feature = "vm")]
fn every_key_of_a_network_device(text: &str, net: &[casemate_hypervisor::config::RawNet]) {
    use casemate_hypervisor::config::RawNet;
    let [
        RawNet {
            name: Some(_),
            tap: Some(_),
            create: _,
            fd: _,
            mac: Some(_),
            mtu: Some(_),
            on_device_death: Some(_),
            bandwidth: Some(_),
            bandwidth_burst: Some(_),
            packets: Some(_),
            packets_burst: Some(_),
        },
    ] = net
    else {
        panic!("a key of a network device is missing: {text}")
    };
    assert!(text.contains("\ncreate = ") && text.contains("fd = "), "{text}");
}

/// Protects from a default that the help states and that the program does not have.
#[cfg(feature = "vm")]
#[test]
fn defaults_in_the_help_are_those_of_the_program() {
    use casemate_hypervisor::config::{Protection, RawConfig, RawSnp, VmConfig};
    let checked = |raw: RawConfig| raw.validate().unwrap();
    let least = |protection: &str| RawConfig {
        kernel: Some("vmlinuz".into()),
        protection: Some(protection.into()),
        name: Some("demo".into()),
        ..RawConfig::default()
    };
    let said = RawConfig::from_toml(&configuration(), "run --help").unwrap();
    let snp = said.snp.clone().unwrap();
    // What the help gives as an example only.
    let (disk, vhost_user, net) = (Vec::new(), Vec::new(), Vec::new());
    let said = RawConfig { disk, vhost_user, net, snp: None, cgroup: None, ..said };
    let (initrd, timeout, vsock, rng) = (None, None, None, None);
    let plain = RawConfig { initrd, timeout, vsock, rng, ..said };
    assert_eq!(checked(plain), checked(least("none")));
    let snp = RawSnp {
        host_data: None,
        initdata: None,
        id_block: None,
        id_auth: None,
        expect_digest: None,
        certs: None,
        ..snp
    };
    let confidential: VmConfig = checked(RawConfig { snp: Some(snp), ..least("sev-snp") });
    assert_eq!(confidential.protection, Protection::SevSnp);
    assert_eq!(confidential, checked(least("sev-snp")));
}

/// Protects who measures by the command line that will start the guest: what describes a guest to
/// `run` describes it to `measure`, and no flag means one thing here and another there.
#[cfg(feature = "vm")]
#[test]
fn flags_that_describe_a_guest_are_those_of_measure_too() {
    let cli = Cli::command();
    let flags = |command: &str| -> Vec<_> {
        let command = cli.find_subcommand(command).unwrap();
        let text = |arg: &clap::Arg| arg.get_help().map(ToString::to_string);
        let flag = |arg: &clap::Arg| Some((arg.get_long()?.to_owned(), text(arg)));
        command.get_arguments().filter_map(flag).collect()
    };
    let measure = flags("measure");
    let mut not_of_the_guest = Vec::new();
    for (flag, help) in flags("run") {
        match measure.iter().find(|(other, _)| *other == flag) {
            // A number there, and here also a range of them.
            Some(_) if flag == "vcpus" => {}
            Some((_, other)) => assert_eq!(*other, help, "--{flag}"),
            None => not_of_the_guest.push(flag),
        }
    }
    // `shape` is `vcpus`, and a memory that no digest depends on.
    // No digest depends on what goes into a run and comes out of it, nor on its broker.
    let exchange = ["input", "output", "nonce", "kbs", "kbs-key"];
    let about = ["shape", "policy", "decision-log", "log-key", "log-head", "adopt"];
    assert_eq!(not_of_the_guest, [&about[..], &exchange, &["timeline", "dry-run"]].concat());
}

/// Protects who starts VMs from two ways to read one command line: where `run` is the first word,
/// it alone is described to the parser, which must say the same to everything.
#[cfg(feature = "vm")]
#[test]
fn run_is_read_the_same_alone_and_among_all_commands() {
    use clap::Parser;
    let lines = [
        "casemate run --help",
        "casemate run -h",
        "casemate run vm.toml --memory 1G --timeline=json",
        "casemate run vm.toml --log debug",
        "casemate run vm.toml another",
        "casemate run --nonsense",
        "casemate run --memory",
        "casemate run --shape 2x4G --vcpus 2",
        "casemate run --version",
        "casemate run help",
    ];
    for line in lines {
        let alone = super::parse(line.split(' ').map(Into::into).collect());
        let among = Cli::try_parse_from(line.split(' '));
        let shown = |read: Result<Cli, clap::Error>| match read {
            Ok(cli) => format!("{cli:?}"),
            Err(e) => format!("{:?} {}", e.kind(), e.render()),
        };
        assert_eq!(shown(alone), shown(among), "{line}");
    }
}
