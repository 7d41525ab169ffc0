//! Ids, capabilities, and the attributes of a process that let it gain or lend privilege.

use super::refusal::{Refusal, refused};
use super::sys::prctl;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    clear_ambient_capability_set, no_new_privs as no_new_privs_set, set_capabilities,
    set_capabilities_secure_bits, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// The id that a child of root gets, inside and outside its namespace.
pub const NOBODY: u32 = 65534;

/// Becomes [`NOBODY`] in every id, without supplementary groups. Capabilities stay for the layers
/// to come.
pub(super) fn become_nobody() -> Result<String, Refusal> {
    set_thread_groups(&[]).map_err(refused("setgroups(none)"))?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_thread_res_gid(gid, gid, gid).map_err(refused("setresgid(65534)"))?;
    // Outside a user namespace, leaving user 0 would take the capabilities at once. PR_SET_KEEPCAPS
    // leaves those permitted and, unlike securebits, takes no privilege itself; effective they are
    // made again.
    set_keep_capabilities(true).map_err(refused("prctl(PR_SET_KEEPCAPS)"))?;
    set_thread_res_uid(uid, uid, uid).map_err(refused("setresuid(65534)"))?;
    set_keep_capabilities(false).map_err(refused("prctl(PR_SET_KEEPCAPS)"))?;
    let now = capabilities(None).map_err(refused("capget"))?;
    let effective = CapabilitySets { effective: now.permitted, ..now };
    set_capabilities(None, effective).map_err(refused("capset(permitted)"))?;
    Ok(format!("uid {NOBODY}, no supplementary group"))
}

/// Empties the bounding set.
///
/// Who may not, and has neither capabilities nor a way to get some by execve, is bound by it to
/// nothing: the set limits what execve gives (capabilities(7)), and under `no_new_privs` that is
/// nothing.
pub(super) fn empty_bounding_set() -> Result<String, Refusal> {
    for capability in 0..64 {
        let dropped = prctl("prctl(PR_CAPBSET_DROP)", libc::PR_CAPBSET_DROP, capability, 0);
        let Err(refusal) = dropped else { continue };
        // The kernel has no capability of this number.
        let is_last = |refusal: &Refusal| {
            refusal.source.raw_os_error() == Some(libc::EINVAL) && capability > 0
        };
        if is_last(&refusal) {
            break;
        }
        // Who may not drop any is asked for each whether it is there.
        match prctl("prctl(PR_CAPBSET_READ)", libc::PR_CAPBSET_READ, capability, 0) {
            Ok(0) => {}
            Err(e) if is_last(&e) => break,
            Err(e) => return Err(e),
            Ok(_) => {
                let none = capabilities(None).is_ok_and(|now| now.permitted.is_empty());
                let void = none && no_new_privs_set().unwrap_or(false);
                return if void {
                    Ok("void, not empty: no_new_privs".into())
                } else {
                    Err(refusal)
                };
            }
        }
    }
    Ok(String::new())
}

/// Gives up every capability that is not in `keep`, in every set, and the ways to get them by id 0.
pub(super) fn drop_capabilities(keep: CapabilitySet) -> Result<String, Refusal> {
    let now = capabilities(None).map_err(refused("capget"))?;
    clear_ambient_capability_set().map_err(refused("prctl(PR_CAP_AMBIENT_CLEAR_ALL)"))?;
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    match set_capabilities_secure_bits(bits) {
        // Without capabilities to begin with there is nothing for securebits to guard.
        Err(Errno::PERM) if now.permitted.is_empty() => {}
        result => result.map_err(refused("prctl(PR_SET_SECUREBITS)"))?,
    }
    let kept = now.permitted & keep;
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(refused("capset"))?;
    let left = capabilities(None).map_err(refused("capget"))?;
    if !(left.permitted - kept).is_empty() {
        return Err(Refusal::new("capset(none)", Errno::PERM));
    }
    let locked = capabilities_secure_bits().map_err(refused("prctl(PR_GET_SECUREBITS)"))?;
    let securebits = if locked.contains(bits) { "securebits locked" } else { "had none" };
    Ok(if kept.is_empty() { securebits.into() } else { format!("{securebits}, CAP_KILL kept") })
}

/// No execve gives privilege any more.
pub(super) fn no_new_privs() -> Result<String, Refusal> {
    set_no_new_privs(true).map_err(refused("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    Ok(String::new())
}

/// No core, and no ptrace or /proc access by processes of the same user.
pub(super) fn not_dumpable() -> Result<String, Refusal> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(refused("prctl(PR_SET_DUMPABLE)"))?;
    Ok(String::new())
}

/// What is writable, or was, never becomes executable.
pub(super) fn write_xor_execute() -> Result<String, Refusal> {
    let refuse = u64::from(libc::PR_MDWE_REFUSE_EXEC_GAIN);
    prctl("prctl(PR_SET_MDWE)", libc::PR_SET_MDWE, refuse, 0)?;
    Ok(String::new())
}
