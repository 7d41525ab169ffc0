//! The manifest's text: one spelling, read back as what it was written from, and nothing that is
//! not known. What a guest does with it these tests cannot tell.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

use casemate_pod::{
    Capability, Container, Dns, Files, Hash, HostAlias, Kind, Layer, MAX_SIZE, Manifest, Mebibytes,
    Mount, OpenValue, OpenVariable, Pod, PodError, Resolver, Root, Signal, Source, Stdio, Tmpfs,
    User, Volume,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

fn layer(byte: u8) -> Layer {
    Layer { diff_id: Hash([byte; 32]), root: Hash([byte ^ 0xff; 32]), blocks: 1 + u32::from(byte) }
}

fn container(name: &str, kind: Kind, layers: &[u16]) -> Container {
    Container {
        name: name.into(),
        kind,
        layers: layers.to_vec(),
        args: vec!["/app".into(), "a \"b\"\n\\ \u{7f}\t".into()],
        cwd: "/srv".into(),
        user: User { uid: 1000, gid: 1000, groups: vec![5, 6] },
        caps: vec!["CHOWN".parse().unwrap(), "NET_RAW".parse().unwrap()],
        new_privileges: false,
        root: Root::ReadOnly,
        tmpfs: vec![Tmpfs { path: "/tmp".into(), size: Mebibytes::new(64).unwrap() }],
        env: vec!["A=b=c".into(), "EMPTY=".into()],
        env_open: vec![OpenVariable { name: "POD_IP".into(), value: OpenValue::Ip }],
        stdio: Stdio::Out,
        exec: vec![vec!["/bin/health".into(), "-q".into()]],
        signals: vec![Signal::KILL, Signal::TERM],
        restart: false,
    }
}

fn manifest() -> Manifest {
    let mount = |text: &str| vec![text.parse::<Mount>().unwrap()];
    let volume = |name: &str, source, mounts| Volume { name: name.into(), source, mounts };
    let files =
        Files { hashes: [("app.toml".to_owned(), Hash([7; 32]))].into(), executable: false };
    let size = Mebibytes::new(16).unwrap();
    Manifest {
        layers: vec![layer(1), layer(2), layer(3)],
        pod: Pod {
            hostname: Some("web".into()),
            dns: Dns::Open,
            hosts: vec![HostAlias { address: [10, 0, 0, 1].into(), names: vec!["db.x".into()] }],
            net: true,
            services: false,
            vcpus: vec![1, 2],
            secrets_after: vec!["init-db".into()],
        },
        containers: vec![
            container("init-db", Kind::Init, &[0, 1]),
            Container { restart: true, ..container("web", Kind::Main, &[0, 2]) },
        ],
        volumes: vec![
            volume("config", Source::HostFiles(files), mount("web:/etc/app:ro")),
            volume("token", Source::OpenFiles { kib: 64 }, mount("web:/run/token:ro")),
            volume("run", Source::Memory { size }, mount("web:/run/app:rw")),
            volume("work", Source::Scratch { size }, mount("init-db:/work:rw")),
            volume("data", Source::Disk { key: "data.key".into() }, mount("web:/data:rw")),
            volume(
                "keys",
                Source::Secrets { names: vec!["db.key".into()] },
                mount("web:/run/keys:ro"),
            ),
        ],
    }
}

/// Protects what is hashed: that this text stays what it is for the same pod.
#[test]
fn the_text_of_a_pod_stays_the_same_bytes() {
    let hash = |byte: u8| format!("{byte:02x}").repeat(32);
    let layers: Vec<String> = (1..4_u8)
        .map(|n| format!("\"sha256:{}=verity:{}:{}\",\n", hash(n), hash(n ^ 0xff), n + 1))
        .collect();
    let container = "args = [\"/app\", \"a \\\"b\\\"\\u000A\\\\ \\u007F\\u0009\"]\ncwd = \"/srv\"\n\
        user = 1000\ngroup = 1000\ngroups = [5, 6]\ncaps = [\"CHOWN\", \"NET_RAW\"]\n\
        root = \"read-only\"\ntmpfs = [\"/tmp=64\"]\nenv = [\"A=b=c\", \"EMPTY=\"]\n\
        env_open = [\"POD_IP:ip\"]\nstdio = \"out\"\nexec = [[\"/bin/health\", \"-q\"]]\n\
        signals = [\"KILL\", \"TERM\"]\n";
    let expected = format!(
        "version = 1\nlayout = 1\nlayers = [\n{}]\n\n[pod]\nhostname = \"web\"\n\
         open = [\"dns\", \"net\"]\nvcpus = [1, 2]\nsecrets_after = [\"init-db\"]\n\
         hosts = [\"10.0.0.1 db.x\"]\n\n[[container]]\nname = \"init-db\"\nkind = \"init\"\n\
         layers = [0, 1]\n{container}\n[[container]]\nname = \"web\"\nkind = \"main\"\n\
         layers = [0, 2]\n{container}restart = true\n\n[[volume]]\nname = \"config\"\n\
         kind = \"host-files\"\nmounts = [\"web:/etc/app:ro\"]\nfiles = {{ \"app.toml\" = \
         \"{}\" }}\n\n[[volume]]\nname = \"token\"\nkind = \"open-files\"\n\
         mounts = [\"web:/run/token:ro\"]\nkib = 64\n\n[[volume]]\nname = \"run\"\n\
         kind = \"memory\"\nmounts = [\"web:/run/app:rw\"]\nmib = 16\n\n[[volume]]\n\
         name = \"work\"\nkind = \"scratch\"\nmounts = [\"init-db:/work:rw\"]\nmib = 16\n\n\
         [[volume]]\nname = \"data\"\nkind = \"disk\"\nmounts = [\"web:/data:rw\"]\n\
         key = \"data.key\"\n\n[[volume]]\nname = \"keys\"\nkind = \"secrets\"\n\
         mounts = [\"web:/run/keys:ro\"]\nnames = [\"db.key\"]\n",
        layers.concat(),
        hash(7),
    );
    assert_eq!(manifest().text().unwrap(), expected);
    assert_eq!(Manifest::read(&expected).unwrap(), manifest());
    let read = manifest();
    let secrets: Vec<&str> = read.secrets().into_iter().collect();
    assert_eq!(secrets, ["data.key", "db.key"]);
}

/// Protects a guest from a text that says the same in other bytes: HOST_DATA would be another.
#[test]
fn another_spelling_is_refused_as_such() {
    let text = manifest().text().unwrap();
    for (from, to) in [
        ("version = 1", "version=1"),
        ("layout = 1\n", "layout = 1\n\n"),
        ("[pod]", "# a comment\n[pod]"),
        ("\"/srv\"", "'/srv'"),
        ("\"/srv\"", "\"/\\u0073rv\""),
        ("user = 1000", "user = 1_000"),
        ("\"web:/etc/app:ro\"", "'web:/etc/app:ro'"),
        ("[1, 2]", "[1,2]"),
        ("restart = true", "restart = true\nnew_privileges = false"),
        ("open = [\"dns\", \"net\"]", "open = [\"net\", \"dns\"]"),
        ("open = [\"dns\", \"net\"]", "open = [\"dns\", \"dns\", \"net\"]"),
    ] {
        assert!(text.contains(from), "{from}");
        let other = text.replacen(from, to, 1);
        assert_eq!(Manifest::read(&other), Err(PodError::Spelling), "{to}");
    }
    assert_eq!(Manifest::read(text.trim_end()), Err(PodError::Spelling));
}

/// Protects a guest from starting with what it half understood, or cannot start with.
#[test]
fn what_is_not_known_or_cannot_be_is_refused_with_its_place() {
    let text = manifest().text().unwrap();
    for (from, to, named) in [
        ("version = 1", "version = 2\nmore = 1", "version 2"),
        ("layout = 1", "layout = 2", "layout"),
        ("[pod]", "[pod]\nhostnet = true", "hostnet"),
        ("kind = \"init\"", "kind = \"first\"", "first"),
        ("stdio = \"out\"", "stdio = \"in\"", "stdio"),
        ("layers = [0, 1]", "layers = [1, 0]", "not yet"),
        ("layers = [0, 1]", "layers = [0, 9]", "layers"),
        ("layers = [0, 2]", "layers = [0, 1]", "no container has"),
        ("layers = [0, 1]", "layers = []", "layers"),
        ("=verity:fe", "=verity:FE", "SHA-256"),
        (":2\"", ":02\"", "DIFFID"),
        ("args = [\"/app\", ", "args = [\"\", ", "program"),
        ("cwd = \"/srv\"", "cwd = \"/srv/..\"", "cwd"),
        ("cwd = \"/srv\"", "cwd = \"srv\"", "cwd"),
        ("user = 1000", "user = 4294967295", "user"),
        ("groups = [5, 6]", "groups = [6, 5]", "groups"),
        ("\"NET_RAW\"", "\"SYS_ADMIN\"", "SYS_ADMIN"),
        ("/tmp=64", "/tmp=0", "tmpfs"),
        ("/tmp=64", "/proc=64", "tmpfs"),
        ("\"EMPTY=\"", "\"A=\"", "twice"),
        ("\"EMPTY=\"", "\"=x\"", "env"),
        ("POD_IP:ip", "A:ip", "env_open"),
        ("POD_IP:ip", "POD_IP:any", "any"),
        ("[\"/bin/health\", \"-q\"]", "[]", "exec"),
        ("\"TERM\"", "\"SIGTERM\"", "SIGTERM"),
        ("hostname = \"web\"", "hostname = \"Web\"", "hostname"),
        ("hostname = \"web\"\n", "", "hostname"),
        ("open = [\"dns\", ", "open = [\"all\", ", "all"),
        ("vcpus = [1, 2]", "vcpus = [2, 1]", "vcpus"),
        ("vcpus = [1, 2]", "vcpus = [0]", "vcpus"),
        ("after = [\"init-db\"]", "after = [\"init\"]", "not there"),
        ("after = [\"init-db\"]", "after = [\"init-db\", \"web\"]", "itself waits"),
        ("]]\nname = \"web\"", "]]\nname = \"init-db\"", "twice"),
        ("kind = \"main\"", "kind = \"init\"", "main"),
        ("web:/etc/app:ro", "web:/etc/app:rw", "written to"),
        ("web:/etc/app:ro", "web:/etc/hosts:ro", "belongs"),
        ("web:/etc/app:ro", "web:/dev/sda:ro", "belongs"),
        ("web:/etc/app:ro", "web:/run/keys:ro", "something else"),
        ("web:/etc/app:ro", "web:/tmp:ro", "something else"),
        ("web:/etc/app:ro", "www:/etc/app:ro", "not there"),
        ("web:/etc/app:ro", "web:/etc/../app:ro", "path"),
        ("\"app.toml\" =", "\"../x\" =", "plain"),
        ("kind = \"memory\"", "kind = \"scratch\"\nkey = \"x\"", "keys"),
        ("kind = \"memory\"", "kind = \"luks2\"", "luks2"),
        ("key = \"data.key\"", "key = \"a/b\"", "plain"),
        ("kib = 64", "kib = 0", "kib"),
        ("mib = 16", "mib = 0", "mib"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Manifest::read(&text.replacen(from, to, 1)).unwrap_err();
        assert_ne!(error, PodError::Spelling, "{to}");
        assert!(error.to_string().contains(named), "{to}: {error}");
    }
    let long = "#".repeat(MAX_SIZE + 1);
    assert_eq!(Manifest::read(&long), Err(PodError::TooLong(MAX_SIZE + 1)));
    let shown = Manifest::read("version = 1\n\"\\u001b[2J\" = 1\n").unwrap_err().to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

/// Protects containers' programs from what a host may call an open value.
#[test]
fn open_values_are_of_their_type() {
    let admits = |word: &str, value: &str| word.parse::<OpenValue>().unwrap().admits(value);
    for (word, good, bad) in [
        ("ip", "10.1.2.3", "10.1.2"),
        ("ip", "fd00::1", "fd00::1%eth0"),
        ("ips", "10.1.2.3,fd00::1", "10.1.2.3,"),
        ("dns1123", "web-0", "web.0"),
        ("domain", "web-0.ns", "web 0"),
        ("number", "18446744073709551615", "18446744073709551616"),
        ("number", "0", "+1"),
        ("uuid", "0b0e3a0c-1f2d-4d7e-9c0b-0123456789ab", "0b0e3a0c-1f2d-4d7e-9c0b"),
    ] {
        assert!(admits(word, good), "{word} {good}");
        assert!(!admits(word, bad) && !admits(word, ""), "{word} {bad}");
    }
}

#[test]
fn a_resolver_is_bounded_and_writes_its_file() {
    let mut resolver = Resolver {
        nameservers: vec![[10, 0, 0, 10].into()],
        searches: vec!["svc.cluster.local".into(), ".".into()],
        options: vec!["ndots:5".into()],
    };
    let file = "nameserver 10.0.0.10\nsearch svc.cluster.local .\noptions ndots:5\n";
    assert_eq!(resolver.file(), file);
    assert!(resolver.check().is_ok());
    resolver.options = vec!["a\nnameserver 6.6.6.6".into()];
    assert!(resolver.check().is_err());
    resolver.options.clear();
    resolver.nameservers = vec![[10, 0, 0, 10].into(); 4];
    assert!(resolver.check().is_err());
}

fn text() -> impl Strategy<Value = String> {
    "(\\PC|[\t\r\n\\\\\"'=:\u{7f}\u{85}]){0,12}"
}

fn a_container(kind: Kind, name: String) -> impl Strategy<Value = Container> {
    let size = || (1..200_u32).prop_map(|mib| Mebibytes::new(mib).unwrap());
    let root = prop_oneof![
        Just(Root::ReadOnly),
        size().prop_map(Root::Memory),
        size().prop_map(Root::Scratch),
    ];
    let args = (text().prop_map(|arg| format!("/{arg}")), vec(text(), 0..4));
    let args = args.prop_map(|(program, mut rest)| {
        rest.insert(0, program);
        rest
    });
    let env = btree_map("[A-Z_.-]{1,8}", text(), 0..4);
    let open = btree_set("[a-z]{1,8}", 0..3);
    let ids = (0..70_000_u32, 0..70_000_u32, btree_set(0..70_000_u32, 0..3));
    let many = (btree_set(1..32_u32, 0..4), btree_set(0..14_usize, 0..4));
    let exec = btree_set(vec("[ -~]{1,6}", 1..3), 0..3);
    let tmpfs = btree_map("/[a-c]{1,3}", size(), 0..3);
    let flags = (any::<bool>(), any::<bool>());
    (args, env, open, ids, many, exec, tmpfs, root, flags).prop_map(
        move |(args, env, open, ids, (signals, caps), exec, tmpfs, root, flags)| {
            let defaults = Capability::defaults();
            let variable = |name| OpenVariable { name, value: OpenValue::Label };
            Container {
                name: name.clone(),
                kind,
                layers: vec![0],
                args,
                cwd: "/".into(),
                user: User { uid: ids.0, gid: ids.1, groups: ids.2.into_iter().collect() },
                caps: caps.into_iter().map(|at| defaults[at]).collect(),
                new_privileges: flags.0,
                root,
                tmpfs: tmpfs.into_iter().map(|(path, size)| Tmpfs { path, size }).collect(),
                env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
                env_open: open.into_iter().map(variable).collect(),
                stdio: Stdio::OutInTty,
                exec: exec.into_iter().collect(),
                signals: signals.into_iter().filter_map(Signal::from_number).collect(),
                restart: flags.1 && kind != Kind::Init,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_the_same_text_again(
        init in a_container(Kind::Init, "first".into()),
        main in a_container(Kind::Main, "second".into()),
        hostname in proptest::option::of("[a-z0-9]{1,20}"),
        flags in any::<(bool, bool)>(),
        files in btree_map("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,8}", any::<[u8; 32]>(), 1..4),
    ) {
        let hashes = files.into_iter().map(|(name, hash)| (name, Hash(hash))).collect();
        let volume = Volume {
            name: "files".into(),
            source: Source::HostFiles(Files { hashes, executable: flags.1 }),
            mounts: vec!["second:/x/y:ro".parse().unwrap()],
        };
        let pod = Pod {
            hostname,
            dns: if flags.0 { Dns::Open } else { Dns::Fixed(Resolver::default()) },
            hosts: vec![],
            net: flags.0,
            services: flags.1,
            vcpus: vec![1],
            secrets_after: vec![],
        };
        let manifest = Manifest {
            layers: vec![layer(1)],
            pod,
            containers: vec![init, main],
            volumes: vec![volume],
        };
        let text = manifest.text().unwrap();
        let read = Manifest::read(&text).unwrap();
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(read.text().unwrap(), text);
    }

    #[test]
    fn a_changed_text_is_refused_or_another_manifest(at in 0..2000_usize, byte in 0x20..0x7f_u8) {
        let text = manifest().text().unwrap();
        let mut bytes = text.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let other = String::from_utf8(bytes).unwrap();
        if let Ok(read) = Manifest::read(&other) {
            prop_assert_eq!(read == manifest(), other == text);
        }
    }
}
