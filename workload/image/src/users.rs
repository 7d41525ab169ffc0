//! Users and groups by name, as the image's own `/etc/passwd` and `/etc/group` have them
//! (passwd(5), group(5)). Looked up when an image is built: the guest gets numbers.
//!
//! The rules are those of `runc` and `docker`: a user without an entry may be a number and has then
//! group 0; supplementary groups are those that list the user, unless a group was written.

use crate::ImageError;
use casemate_foreign_text::value;
use casemate_manifest::User;

/// A user, and the home that `HOME` is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Numbers.
    pub user: User,
    /// None for a user without an entry.
    pub home: Option<String>,
}

struct Entry<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

fn passwd(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Entry { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

/// Name, number and members of each group.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// The user that `written` names: `USER[:GROUP]`, names or numbers; empty is root.
///
/// # Errors
/// [`ImageError::Workload`] for a name that the image does not have.
pub fn find(written: &str, passwd_text: &str, group_text: &str) -> Result<Found, ImageError> {
    let (user, group) = match written.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (written, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = number(user);
    let entry = passwd(passwd_text)
        .find(|entry| entry.name == user || (number.is_some() && Some(entry.uid) == number));
    let uid = entry.as_ref().map(|entry| entry.uid).or(number).ok_or_else(|| {
        let user = value(user).at_most(64);
        ImageError::Workload(format!("its user {user} is not in the image's /etc/passwd"))
    })?;
    let (gid, extra) = match group {
        Some(group) => (find_group(group, group_text)?, Vec::new()),
        None => {
            let gid = entry.as_ref().map_or(0, |entry| entry.gid);
            let member = |members: &str| {
                entry.as_ref().is_some_and(|e| members.split(',').any(|name| name == e.name))
            };
            let mut extra: Vec<u32> = groups(group_text)
                .filter(|(_, _, members)| member(members))
                .map(|(_, gid, _)| gid)
                .collect();
            extra.sort_unstable();
            extra.dedup();
            (gid, extra)
        }
    };
    let home = entry.map(|entry| entry.home).filter(|home| home.starts_with('/'));
    Ok(Found { user: User { uid, gid, groups: extra }, home: home.map(str::to_owned) })
}

fn find_group(group: &str, text: &str) -> Result<u32, ImageError> {
    let number = number(group);
    let found = groups(text)
        .find(|(name, gid, _)| *name == group || (number.is_some() && Some(*gid) == number))
        .map(|(_, gid, _)| gid);
    found.or(number).ok_or_else(|| {
        let group = value(group).at_most(64);
        ImageError::Workload(format!("its group {group} is not in the image's /etc/group"))
    })
}

/// Digits only: a sign would be a second spelling.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbroken\napp:x:100:101::/srv/app:/bin/sh\n\
                          33:x:5:5::/odd:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root,app\nlog:x:7:app\nlog2:x:7:app\nusers:x:20:apple\n";

    fn found(written: &str) -> (u32, u32, Vec<u32>, Option<String>) {
        let Found { user, home } = find(written, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, home)
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = (0, 0, vec![10], Some("/root".into()));
        assert_eq!(found(""), root);
        assert_eq!(found("root"), root);
        let app = (100, 101, vec![7, 10], Some("/srv/app".into()));
        assert_eq!(found("app"), app);
        assert_eq!(found("100"), app);
        assert_eq!(found("app:wheel"), (100, 10, vec![], Some("/srv/app".into())));
        assert_eq!(found("app:"), app);
        // A name of digits is a name first, in the order of the file.
        assert_eq!(found("33").0, 5);
        assert_eq!(found("4242"), (4242, 0, vec![], None));
        assert_eq!(found("4242:4343"), (4242, 4343, vec![], None));
    }

    #[test]
    fn who_is_not_there_is_refused_by_name() {
        for (written, named) in [("nobody", "nobody"), ("app:staff", "staff"), ("-1", "-1")] {
            let error = find(written, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(find("4294967296", PASSWD, GROUP).is_err());
        assert!(find("x\u{1b}[2J", "", "").is_err_and(|e| !e.to_string().contains('\u{1b}')));
    }
}
