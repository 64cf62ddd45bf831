//! Where and when a sweep runs.

use std::time::{SystemTime, UNIX_EPOCH};

use super::record::Machine;

/// This machine as it is now.
pub(super) fn now(when: &str) -> Machine {
    Machine {
        when: when.into(),
        date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        host: host(),
        processor: processor(),
        system: system(),
        load: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The value of a line `key` = value, however they are separated.
fn value(text: &str, key: &str, separator: char) -> Option<String> {
    let found = text.lines().find_map(|line| {
        let (k, v) = line.split_once(separator)?;
        (k.trim() == key).then(|| v.trim().trim_matches('"').to_owned())
    });
    found.filter(|v| !v.is_empty())
}

/// What a system's own program prints.
fn told(program: &str, args: &[&str]) -> Option<String> {
    let out = std::process::Command::new(program).args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned()).filter(|text| !text.is_empty())
}

fn host() -> Option<String> {
    let var = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    read("/proc/sys/kernel/hostname").or_else(|| var("COMPUTERNAME")).or_else(|| told("hostname", &[]))
}

/// The processor's name.
pub(super) fn processor() -> String {
    let linux = || {
        let text = read("/proc/cpuinfo")?;
        ["model name", "Hardware", "Model", "uarch"].iter().find_map(|key| value(&text, key, ':'))
    };
    let named = if cfg!(target_vendor = "apple") {
        told("/usr/sbin/sysctl", &["-n", "machdep.cpu.brand_string"])
    } else if cfg!(windows) {
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    } else {
        linux()
    };
    named.unwrap_or_else(|| format!("unknown {} processor", std::env::consts::ARCH))
}

/// The operating system and its version.
fn system() -> String {
    let linux = || {
        let name = value(&read("/etc/os-release")?, "PRETTY_NAME", '=')?;
        Some(read("/proc/sys/kernel/osrelease").map_or(name.clone(), |kernel| format!("{name}, kernel {kernel}")))
    };
    let named = if cfg!(target_vendor = "apple") {
        told("/usr/bin/sw_vers", &["-productVersion"]).map(|version| format!("macOS {version}"))
    } else {
        linux()
    };
    let named = named.unwrap_or_else(|| std::env::consts::OS.into());
    format!("{named}, {}", std::env::consts::ARCH)
}

/// `2015-09-14 09:50:45` of seconds since 1970, in UTC.
fn date(seconds: u64) -> String {
    let (mut day, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let days = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= days[month] {
        day -= days[month];
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{:02}-{:02} {hour:02}:{minute:02}:{:02}", month + 1, day + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_442_224_245, "2015-09-14 09:50:45"),
            (1_704_067_199, "2023-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(seconds), text);
        }
        assert_eq!(value("a\t: x\nmodel name\t: Some CPU\n", "model name", ':').as_deref(), Some("Some CPU"));
        assert_eq!(value("PRETTY_NAME=\"Some OS 12\"\n", "PRETTY_NAME", '=').as_deref(), Some("Some OS 12"));
    }
}
