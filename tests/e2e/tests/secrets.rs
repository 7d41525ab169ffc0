//! Protects a guest with secrets from who answers it and who starts it: it finds its secrets as
//! files in memory, of its user, with the broker's time on its clock, whatever its host's says; a
//! guest whose broker has another key, is away or does not believe it, and one whose initdata was
//! changed each start no workload, and the host says why in a sentence. The broker is a MODEL of a
//! server with the real decisions (`tests/broker`), since no real one has another key or another
//! time; what `casemate kbs serve` gives is in `key_broker.rs`. The processor of the virtual SNP
//! host is a MODEL, too: cannot tell what SNP hardware does.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]

mod secret_image;

use casemate_e2e::{place, static_program, static_programs};
use casemate_initdata::{CASEMATE, Casemate, POLICY, document, host_data, to_disk};
use casemate_test_broker::ONE;
use casemate_test_host::{Host, Kind};
use secret_image::{WANTED, build, digest, grant, has, launch_policy, of_launch, said, source};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What the broker takes for the time: later than the date of this version, which is the floor of
/// an image's clock, and another day than anybody else has.
const DATE: &str = "\"Fri, 01 Jan 2027 12:00:00 GMT\" 1798804800";
/// `acme/db/key` and `acme/db/motto`.
const SECRETS: &str = "acme/db/key='the key of the disk' acme/db/motto=trust";

fn host(kind: Kind, image: &Path) -> Host {
    Host::new(kind)
        .expect("the virtual host can be built")
        .file(static_programs().unwrap().join("casemate"), "/bin/casemate")
        .file(static_program("casemate-test-broker").unwrap(), "/bin/broker")
        .directory(image, "/img/app")
        .memory_mib(2048)
        .timeout(Duration::from_secs(1800))
}

/// A broker in a host, with its words in /tmp/said, and `$broker` its process.
fn broker(who: &str, policy: &str, chip: &str) -> String {
    let (vcek, roots) = (format!("{chip}/vcek.der"), format!("{chip}/ark-ask.pem"));
    format!(
        "rm -f /v/kbs; broker {who} /v/kbs {policy} {vcek} {roots} {DATE} {SECRETS} 2>/tmp/said & \
         broker=$!; while ! [ -S /v/kbs ]; do sleep 0.1; done; "
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a guest is told of its processor is the MODEL's.
#[test]
fn a_confidential_guest_finds_its_secrets_in_memory_and_a_changed_initdata_is_refused() {
    let work = place("secrets-snp").expect("a folder");
    source(&work);
    let options = [&WANTED[..], &["--c-bit", "39", "--broker-from-initdata"]].concat();
    let image = build(&work, "app", &options);
    // The launch policy lies in the initdata, and says that it does.
    let launch_policy = launch_policy();
    let keys = Casemate::of_broker(&[ONE.pin().to_owned()]);
    let initdata = document([(CASEMATE, &*keys), (POLICY, &launch_policy)]).unwrap();
    // The host's own broker, in the document that the guest reads, and not in the one launched
    // with.
    let other = document([(CASEMATE, "[broker]\nkeys = []\n"), (POLICY, &launch_policy)]).unwrap();
    let (digest, cmdline) = (digest(&image), of_launch(&image, "\"cmdline\": \""));
    let hash = hex(&host_data(initdata.as_bytes()));
    let by_hand = format!(
        "kernel = \"/img/app/kernel\"\ninitrd = \"/img/app/initrd\"\ncmdline = \"{cmdline}\"\n\
         memory = \"256M\"\nprotection = \"sev-snp\"\ntimeout = \"600s\"\n\
         [snp]\nc_bit = 39\ninitdata = \"/initdata.toml\"\n\
         [[disk]]\npath = \"/img/app/root.img\"\nread_only = true\nserial = \"casemate-root\"\n\
         [[disk]]\npath = \"/other\"\nread_only = true\nserial = \"casemate-initdata\"\n"
    );
    let files = [
        ("launch.toml", launch_policy.as_bytes()),
        ("good.toml", grant("acme/db/*", &digest, &hash, 9).as_bytes()),
        ("initdata.toml", initdata.as_bytes()),
        ("other", &to_disk(&other).unwrap()),
        ("vm.toml", by_hand.as_bytes()),
    ]
    .map(|(name, bytes)| {
        fs::write(work.join(name), bytes).unwrap();
        name
    });
    let pin = ONE.pin();
    let run = format!(
        "casemate run /img/app/ --shape 1x256M --policy /launch.toml --timeout 600s \
         --kbs unix:/v/kbs --kbs-key {pin}; echo status=$?; kill $broker; cat /tmp/said; "
    );
    let command = format!(
        "mkdir /v; chmod 755 /v; {}{run}echo second; casemate run /vm.toml --policy /launch.toml; \
         echo status=$?",
        broker("one", "/good.toml", "/etc/snp-model"),
    );
    let host = files.into_iter().fold(host(Kind::Snp, &image), |host, name| {
        host.file(work.join(name), &format!("/{name}"))
    });
    let output = host.run(&command).expect("the virtual SNP host runs");
    let _ = fs::remove_dir_all(&work);
    let all = said(&output);
    let (first, rest) = all.split_once("second\n").expect("a second guest");
    has(
        first,
        &[
            "guest: user 100, on 2027-01-01, clock by broker\n",
            // `printf 'the key of the disk' | sha256sum`, and of `trust`.
            "guest: /run/casemate/secrets/db.key 400 100:101 19 fabdd9e63186c06c\n",
            "guest: /run/casemate/secrets/motto 400 100:101 5 f796e2f28ae58117\n",
            "guest: the folder 700 100:101, ",
            "noswap",
            "guest: closed: a secret, written\n",
            "guest: closed: a secret, removed\n",
            "guest: closed: reports\n",
            "guest: closed: reports, by the mount\n",
            "guest: closed: the processor's device\n",
            "guest: closed: another file of Casemate's\n",
            "guest: closed: secrets in the environment\n",
            "guest: ends\n",
            "status=0",
            "Released",
        ],
    );
    assert!(!rest.lines().any(|line| line.starts_with("guest: ")), "{rest}");
    has(rest, &["its PID 1 refused: its initdata is not there, or is not what"]);
}

/// Nobody is protected here, and a broker is told so.
#[test]
fn a_broker_that_is_another_away_or_unconvinced_is_a_sentence_and_no_workload() {
    let work = place("secrets").expect("a folder");
    source(&work);
    let image = build(&work, "app", &[&WANTED[..], &["--broker-key", ONE.pin()]].concat());
    let release = grant("acme/db/*", &"00".repeat(48), &"00".repeat(32), 9);
    fs::write(work.join("policy.toml"), release).unwrap();
    let run = "casemate run /img/app/ --shape 1x256M --protection none --timeout 200s \
        --kbs unix:/v/kbs; echo status=$?; ";
    let command = format!(
        "mkdir /v; chmod 755 /v; {run}echo second; {}{run}kill $broker; echo third; {run}\
         echo fourth; {}{run}kill $broker; cat /tmp/said; \
         casemate run /img/app/ --protection none; echo status=$?; \
         {run2}echo left=$(ps | grep -c '[c]asemate')",
        broker("other", "/policy.toml", "/chip"),
        broker("one", "/policy.toml", "/chip"),
        run2 = run.replace("--kbs unix", &format!("--kbs-key {} --kbs unix", ONE.pin())),
    );
    let output = host(Kind::Plain, &image)
        .file(work.join("policy.toml"), "/policy.toml")
        .run(&format!("mkdir /chip; : >/chip/vcek.der; : >/chip/ark-ask.pem; {command}"))
        .expect("the virtual host runs");
    let _ = fs::remove_dir_all(&work);
    let all = said(&output);
    // What the workload says begins so; words of the host and of PID 1 have "guest: " in them.
    for line in all.lines() {
        assert!(!line.starts_with("guest: "), "{all}");
    }
    has(&all, &["--kbs: no broker listens at /v/kbs", "status=2"]);
    has(&all, &["its PID 1 refused: whoever answers for its key broker has another public key"]);
    has(&all, &["its PID 1 refused: its key broker cannot be reached"]);
    has(&all, &["its PID 1 refused: its key broker does not believe what the guest proves"]);
    has(&all, &["the image asks a key broker for secrets: say where, with --kbs"]);
    has(&all, &["--kbs-key: the image names its broker's key itself"]);
    has(&all, &["left=0"]);
}
