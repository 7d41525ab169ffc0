//! A broker whose disk is full: store and log lie in a small file system of their own, in a mount
//! namespace that ends with the test. Only root can make one.

use super::kbs::{Place, grant};
use super::serving::{is_alive, ready, ready_as, until, words};
use rustix::process::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// Mounts it, puts the broker's store into it, and keeps the namespace until nobody needs it.
const DISK: &str = r#"
mount -t tmpfs -o size=1m,mode=700 none "$0/disk" || exit 77
cp -a "$0/store" "$0/disk/store" && echo there && exec cat
"#;

/// A disk of a mebibyte, of which this process sees nothing.
struct Disk {
    holder: Child,
    place: Place,
}

impl Disk {
    fn new(place: Place) -> Option<Self> {
        std::fs::create_dir(place.path("disk")).unwrap();
        place.edit("store = \"store\"", "store = \"disk/store\"");
        place.edit("\"decisions.jsonl\"", "\"disk/decisions.jsonl\"");
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation", "private", "sh", "-c", DISK]).arg(&place.0);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = holder.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "there\n" {
            let said = words(&mut holder);
            let status = holder.wait().unwrap().code();
            assert!(status == Some(77) || said.contains("unshare failed"), "{status:?}: {said}");
            return None;
        }
        Some(Self { holder, place })
    }

    /// A command that sees the disk.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        command.args([&namespace, program]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn casemate(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_casemate"));
        command.args(args).arg("--config").arg(self.place.path("kbs.toml"));
        command
    }

    fn kbs(&self, args: &[&str]) -> Output {
        self.casemate(&[&["kbs"], args].concat()).output().unwrap()
    }

    fn serve(&self) -> Child {
        self.casemate(&["kbs", "serve"]).spawn().unwrap()
    }

    fn shell(&self, script: &str) {
        let place = self.place.path("disk");
        self.command("sh").args(["-c", script]).arg(place).output().unwrap();
    }

    fn fill(&self) {
        self.shell("head -c 2m /dev/zero >\"$0/rest\"");
    }

    fn make_room(&self) {
        self.shell("rm \"$0/rest\"");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The end of its input: it ends, and the disk with it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// One line, and the status of a failure.
#[track_caller]
fn fails_in_a_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("casemate: ") && said.lines().count() == 1, "{said}");
    said
}

/// Protects guests and the owner of a broker whose disk fills up: who is refused for want of room
/// is told, the operator is told, nothing that was given, counted or put is lost, and with room all
/// goes on without a new start; also after a kill in the middle. Cannot tell of a file system that
/// promises room and does not have it.
#[test]
fn a_full_disk_is_told_and_with_room_everything_goes_on_and_nothing_is_lost() {
    const GUESTS: u32 = 30;
    let place = Place::new("full", &grant("acme/db/key", GUESTS));
    place.kbs_ok(&["put", "acme/db/key"], b"swordfish");
    let Some(disk) = Disk::new(place) else {
        println!("SKIPPED: only root can mount a small file system");
        return;
    };
    let secret = disk.place.path("secret");
    std::fs::write(&secret, [7; 5000]).unwrap();
    let file = secret.to_str().unwrap();
    let mut broker = ready(&disk.place, disk.serve());
    let mut guests: Vec<_> = (1..=GUESTS).map(|key| broker.guest(key)).collect();
    for guest in &mut guests {
        assert_eq!(guest.attest().status, 200);
    }
    disk.fill();
    // What is in the last page of a file has room still.
    let mut given: Vec<bool> = Vec::new();
    for guest in &mut guests {
        let reply = guest.get("acme/db/key");
        assert!(matches!(reply.status, 200 | 500), "{reply:?}");
        given.push(reply.status == 200);
    }
    assert!(given.contains(&false), "the disk is not full");
    let refused = fails_in_a_line(&disk.kbs(&["put", "acme/db/other", "--file", file]));
    assert!(refused.contains("the store's disk is full and nothing was changed"), "{refused}");
    let listed = disk.kbs(&["list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "acme/db/key  1 version\n");
    let new = disk.place.path("disk/new");
    let args = ["kbs", "init", new.to_str().unwrap()];
    let output = disk.command(env!("CARGO_BIN_EXE_casemate")).args(args).output().unwrap();
    fails_in_a_line(&output);
    let left = disk.command("ls").arg(disk.place.path("disk")).output().unwrap();
    assert!(!String::from_utf8_lossy(&left.stdout).contains("new"), "{left:?}");
    disk.make_room();
    for guest in &mut guests {
        let reply = guest.get("acme/db/key");
        assert_eq!(guest.open(&reply), b"swordfish");
    }
    assert!(disk.kbs(&["put", "acme/db/other", "--file", file]).status.success());
    // And killed when it is full again: a new start has what was told, or says why there is none.
    disk.fill();
    guests[0].get("acme/db/key");
    let processes = broker.processes();
    broker.signal(Signal::KILL);
    let (_, said) = broker.ended();
    assert!(said.lines().all(|line| line.starts_with("casemate: the broker: ")), "{said}");
    assert!(said.contains("full") || said.contains("No space left"), "{said}");
    until("an end", || processes.iter().all(|(_, pid)| !is_alive(*pid)));
    let mut second = disk.serve();
    let mut line = String::new();
    BufReader::new(second.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        fails_in_a_line(&second.wait_with_output().unwrap());
    } else {
        let second = ready_as(&disk.place, second, &line);
        second.signal(Signal::TERM);
        let processes = second.processes();
        drop(second);
        until("an end", || processes.iter().all(|(_, pid)| !is_alive(*pid)));
    }
    disk.make_room();
    let broker = ready(&disk.place, disk.serve());
    // Another session is one too many: none of the uses is given back.
    let mut more = broker.guest(GUESTS + 1);
    assert_eq!(more.attest().status, 200);
    let denied = more.get("acme/db/key");
    assert_eq!(denied.status, 403);
    assert!(denied.detail().contains("uses"), "{}", denied.detail());
    let mut first = broker.guest(1);
    assert_eq!(first.attest().status, 200);
    let reply = first.get("acme/db/key");
    assert_eq!(first.open(&reply), b"swordfish");
    broker.end();
    let verified = disk.kbs(&["log", "--verify"]);
    assert!(verified.status.success(), "{verified:?}");
}
