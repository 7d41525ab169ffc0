//! What `casemate run --help` says behind its options: exit statuses, ways to end a VM, consoles,
//! devices of others, the configuration file and examples. Tests read the file's part as a
//! configuration, so that no key, default or example goes stale.

/// The text, laid out by hand for a terminal of 78 columns.
pub const HELP: &str = "\
Exit status:
  0  the guest switched itself off, says nothing of a failure, and its whole
     console was written
  1  the host failed: KVM, the sandbox, this program, a console that cannot be
     written (full disk)
  2  bad use, configuration or input; no guest was started
  3  the guest failed: its workload, a reset, a panic, a triple fault, a
     refusal of its boot code or PID 1, or a time-out
  4  ended by the user: the guest switched itself off as asked, or was ended
  5  the guest succeeded, but console bytes were lost: nobody took any for
     --console-wait
  6  the guest succeeded, but console bytes were lost: their reader closed its
     end (a pipe)
What 0 and 3 say of the workload is the guest's word.

Ending a VM:
  Ctrl-C, SIGTERM and SIGHUP press the power button; a guest that has not
  switched itself off after --grace is ended. A second one of these signals,
  or SIGQUIT (Ctrl-\\), ends it at once.

Console:
  stdio      standard input and output. A terminal gets text, colours and
             cursor movement only: nothing that sets its clipboard or title,
             or makes it answer. Files and pipes get every byte
  raw        the same, but a terminal gets every byte, too: full-screen
             programs need it
  file:PATH  appended to; at --console-limit it is set aside as PATH.1, in
             place of the one before. No input
  pty        a new pseudo-terminal, whose name is printed; its reader gets
             every byte
  Output that is not read holds the guest back; after --console-wait it is
  lost, which is said at once, and the exit status is 5. At a terminal Ctrl-A
  x ends the VM, Ctrl-A h lists more keys; Ctrl-Z stops this program.

Network:
  What the guest may reach behind its TAP the policy says, by
  `network.egress`, `network.rate` and `network.on_rate`; the default one of
  confidential guests admits no connection that the guest opens. It may answer
  those that others open. See docs/network.md.

Foreign devices:
  A vhost-user back end of another project that listens already, such as
  qemu-storage-daemon (block), passt (net), vhost-device-vsock (vsock). It is
  none of this program's processes: nothing here locks it or ends it, and it
  gets the guest's memory: all of it, or of a confidential guest what that
  shares, and there it can make the host hold pages that the guest does not
  use. The policy decides on it by `devices.*.foreign`, and the default one of
  confidential guests forbids it. A network device of others keeps no rule of
  `network`, so a policy admits one only where `network.egress` and
  `network.rate` are \"any\". Of a disk, its size and whether it writes are its
  own word: `devices.block.read_only`, `resources.disk_mib` and
  `resources.disk_total_mib` take it for one that is written and of no known
  size.

Configuration file (what a comment calls the default may be left out):
  name = \"demo\"                  # default: vm-, 8 random digits
  kernel = \"vmlinuz\"             # paths are relative to the file
  initrd = \"initrd.img\"          # default: none
  cmdline = \"console=ttyS0 reboot=acpi panic=-1\"  # the default
  vcpus = 1                      # 1 to 64; the default
  memory = \"256M\"                # the default; or \"2G\"
  console = \"stdio\"              # the default; or \"raw\", \"pty\",
                                 #   { file = \"console.log\" }
  virtio_console = false         # the default; with true hvc0, by a locked
                                 #   process: output goes where `console`
                                 #   says, too, and input comes by it
  console_wait = \"5m\"            # the default; or \"forever\"
  console_limit = \"64M\"          # of a console file; the default
  escape = \"ctrl-a\"              # the default; or another key, or \"none\"
  timeout = \"10m\"                # default: none
  grace = \"15s\"                  # after the power button; the default
  protection = \"none\"            # or \"sev-snp\"; there is no default

  [[disk]]                       # each a locked process; the guest has virtio
                                 #   disks in this order. Default: none
  path = \"disk.img\"              # a raw image, or a block device
  name = \"root\"                  # in messages; default: disk0, disk1, …
  serial = \"R1\"                  # /dev/disk/by-id/virtio-R1 in the guest
  read_only = false              # the default
  direct = false                 # past the host's page cache; the default
  queues = 1                     # each a thread of its process; at most one
                                 #   for each vCPU, and 16; the default
  standby = true                 # another process goes on, once, when the
                                 #   disk's is killed or hangs; the default
  on_device_death = \"stop\"       # when none goes on; the default; or
                                 #   \"keep\": the guest runs without it
  bandwidth = \"50M\"            # bytes in a second, and at once, that the
  bandwidth_burst = \"100M\"     #   guest gets; default: no limit. See
  iops = 1000                    #   `casemate limit`, which changes them
  iops_burst = 2000              #   while it runs

  [[vhost_user]]                 # a device that another program serves, see
                                 #   Foreign devices. Default: none
  socket = \"data.sock\"           # where it listens
  kind = \"block\"                 # or \"net\", \"vsock\"
  name = \"data\"                  # in messages; default: vhost_user0, …
  queues = 1                     # of a disk; the default

  [[vhost_user]]
  socket = \"passt.sock\"
  kind = \"net\"
  mac = \"52:54:00:12:34:57\"      # the guest's; default: a random one

  [[net]]                        # each a locked process; a virtio network
                                 #   device. Default: none
  tap = \"tap0\"                  # an interface of this host; or fd = 5: a
                                 #   TAP that this program was started with
  create = false                 # make it; it is gone with the VM; the
                                 #   default
  mac = \"52:54:00:12:34:56\"     # the guest's; default: a random one
  mtu = 1500                     # the default
  name = \"lan\"                  # in messages; default: net0, net1, …
  on_device_death = \"keep\"     # the default: the guest runs without it;
                                 #   or \"stop\"
  bandwidth = \"50M\"            # bytes in a second, and at once, that the
  bandwidth_burst = \"100M\"     #   guest gets, in both directions together;
  packets = 20000                #   default: no limit. See `casemate limit`,
  packets_burst = 40000          #   which changes them while it runs

  [vsock]                        # streams to sockets of this host, by a
                                 #   locked process. Default: none
  cid = 3                        # the guest's context id; the default
  path = \"vm.sock\"             # made here: who connects and says `CONNECT
                                 #   PORT` reaches the guest's port
  ports = [52]                   # the guest reaches who listens at
                                 #   vm.sock_52, and no other; default: none
  [[vsock.forward]]              # a socket for one port of the guest,
  port = 22                      #   without a word before; in the same
  path = \"ssh.sock\"            #   folder

  [rng]                          # /dev/hwrng: random numbers of this host, by
                                 #   a locked process. Default: none
  trust_host = false             # the default; a confidential guest has the
                                 #   device only with true: the host can
                                 #   know each number

  [cgroup]                       # limits of all processes of the VM, which
                                 #   the kernel keeps (v2). Default: none
  directory = \"/sys/fs/cgroup/vms\"  # delegated to you; each VM has a group
  cpu_percent = 200              # 100 for one processor; default: no limit
  cpu_weight = 100               # beside other groups, 1 to 10000; default
  memory = \"2300M\"              # of the guest and of the processes; default:
                                 #   no limit
  pids = 64                      # processes and threads; default: no limit
  [cgroup.process.vmm]           # the same of one: vmm, block-DISK,
  cpu_percent = 100              #   standby-DISK, net-DEVICE, vsock,
                                 #   connector, console, rng, recorder.
                                 #   Default: none

  [sandbox]
  optional = []                  # layers of the lock that this host may lack:
                                 #   `casemate host` names them

  [snp]                          # with protection = \"sev-snp\" only
  policy = 0x30000               # guest policy; the default
  host_data = \"…\"                # 64 hexadecimal digits, in every report
  initdata = \"initdata.toml\"     # in its place: host_data is the SHA-256 of
                                 #   this file. The guest is not given it
  expect_digest = \"…\"            # 96 hexadecimal digits: what `casemate
                                 #   measure` printed; another is refused
  id_block = \"id-block.bin\"      # signed launch digest, 96 bytes
  id_auth = \"id-auth.bin\"        # its signature and keys, 4096 bytes
  author_key_enabled = false     # whether id_auth has an author key, too
  vcek_disabled = false          # reports may not be signed by the VCEK
  vmsa_features = 0              # bits 5 (debug swap), 9 (secure TSC)
  certs = \"certs.bin\"            # for extended requests (Linux 7.0 and
                                 #   later): `casemate attest table`
  c_bit = 51                     # the default, of every EPYC

Examples:
  casemate run vm.toml
  casemate run vm.toml --memory 1G --timeline
  casemate run app.img/ --shape 1x256M --protection none
  casemate run --protection none --kernel vmlinuz --initrd initrd.img \\
      --cmdline \"console=ttyS0 reboot=acpi panic=-1\"
  casemate run vm.toml --disk path=root.img,ro --disk path=data.img,serial=D
  casemate run vm.toml --net tap=tap0,mac=52:54:00:12:34:56
  casemate run vm.toml --vsock path=vm.sock,ports=52+53 \\
      --vsock-forward port=22,path=ssh.sock

  casemate run vm.toml --cgroup /sys/fs/cgroup/vms \\
      --cgroup-limit memory=2300M,pids=64 --cgroup-limit vmm:cpu_percent=100

  An image with recipients, whose results leave it sealed to them:
  casemate run app.img/ --shape 1x256M --input readings.csv \\
      --output results.sealed \\
      --nonce=7c1e0d6b5a4f39288170f6e5d4c3b2a19f8e7d6c5b4a39281706f5e4d3c2b1a0

  An image with secrets, from a key broker that listens at a socket here:
  casemate run app.img/ --shape 1x256M --policy launch.toml \\
      --kbs unix:/run/kbs.sock

  A confidential guest, whose launch digest was computed elsewhere:
  casemate run --protection sev-snp --kernel vmlinuz --initrd initrd.img \\
      --expect-digest \"$(cat digest)\"

  Under a policy, with a log of what it decided that cannot be edited unseen:
  casemate policy init policy.toml
  casemate log key log.key
  casemate run vm.toml --policy policy.toml --dry-run
  casemate run vm.toml --policy policy.toml \\
      --decision-log log.jsonl --log-key log.key
";
