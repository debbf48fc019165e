//! Dates of HTTP (RFC 9110, section 5.6.7), for whatever time a machine's clock is set to.
//!
//! It stands in for the published crate `httpdate` (`[patch.crates-io]` of the workspace), whose interface it has. hyper makes a `Date` of
//! the time now in each step of a connection of HTTP/1.1, and the published crate panics for a time before 1970 or after 9999: a machine
//! whose clock is set wrong would serve nobody. Here such a time becomes the first or the last one that can be written.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z, in seconds since the beginning of 1970.
const LAST: u64 = 253_402_300_799;
const DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A text is no date of HTTP.
#[derive(Debug)]
pub struct Error(());

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is no date of HTTP")
    }
}

impl std::error::Error for Error {}

/// A moment between 1970 and 9999, with a precision of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpDate {
    /// Since the beginning of 1970, at most [`LAST`].
    seconds: u64,
}

impl From<SystemTime> for HttpDate {
    /// The nearest moment that can be written.
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { seconds: seconds.min(LAST) }
    }
}

impl From<HttpDate> for SystemTime {
    fn from(date: HttpDate) -> Self {
        UNIX_EPOCH + Duration::from_secs(date.seconds)
    }
}

impl fmt::Display for HttpDate {
    /// Writes `Sun, 06 Nov 1994 08:49:37 GMT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / DAY, self.seconds % DAY);
        let (year, month, day) = date_of(days);
        // The first day of 1970 was a Thursday.
        let weekday = WEEKDAYS[usize::try_from((days + 3) % 7).unwrap_or_default()];
        let month = MONTHS[month];
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        // hyper has room for these 29 bytes, and takes them in whatever pieces.
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

impl FromStr for HttpDate {
    type Err = Error;

    /// Reads a date in any of the three forms that a recipient must take: that of [`Display`](fmt::Display), that of RFC 850 and that of
    /// C's `asctime`.
    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or(Error(()))
    }
}

/// The moment that a text tells.
///
/// # Errors
///
/// Where the text is no date.
pub fn parse_http_date(text: &str) -> Result<SystemTime, Error> {
    text.parse::<HttpDate>().map(SystemTime::from)
}

/// The time as a text.
#[must_use]
pub fn fmt_http_date(time: SystemTime) -> String {
    HttpDate::from(time).to_string()
}

fn read(text: &str) -> Option<HttpDate> {
    if !text.is_ascii() {
        return None;
    }
    let words: Vec<&str> = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).collect();
    let (year, month, day, time) = match words[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT
        [_, day, month, year, time, "GMT"] => (year, month, day, time),
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (year, month, day, time),
        _ => return None,
    };
    let year = match (number(year)?, year.len()) {
        // Two digits are those of a year from 1970 to 2069.
        (short, 2) => short + if short < 70 { 2_000 } else { 1_900 },
        (long, 4) if long >= 1_970 => long,
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let day = number(day).filter(|day| (1..=days_of(year, month)).contains(day))?;
    let mut parts = time.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    // A minute may have a leap second.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let months: u64 = (0..month).map(|month| days_of(year, month)).sum();
    let days = days_before(year) + months + day - 1;
    Some(HttpDate { seconds: (days * DAY + hour * 3_600 + minute * 60 + second).min(LAST) })
}

fn number(digits: &str) -> Option<u64> {
    let fits = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

/// Year, month from 0 and day from 1 of a day after 1970-01-01.
fn date_of(days: u64) -> (u64, usize, u64) {
    let mut year = 1_970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before(year);
    let mut month = 0;
    while rest >= days_of(year, month) {
        rest -= days_of(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

/// Days from 1970-01-01 to the first of a year.
fn days_before(year: u64) -> u64 {
    let leap = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1_970) * 365 + leap(year - 1) - leap(1_969)
}

fn days_of(year: u64, month: usize) -> u64 {
    match month {
        1 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn moments_are_written_and_read() {
        let moments = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_475_419_451, "Sun, 02 Oct 2016 14:44:11 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, text) in moments {
            assert_eq!(fmt_http_date(at(seconds)), text);
            assert_eq!(parse_http_date(text).ok(), Some(at(seconds)), "{text}");
        }
        let others = ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for text in others {
            assert_eq!(parse_http_date(text).ok(), Some(at(784_111_777)), "{text}");
        }
    }

    #[test]
    fn every_second_day_is_read_as_it_was_written() {
        for day in (0..LAST / DAY).step_by(2) {
            let text = fmt_http_date(at(day * DAY + 1));
            assert_eq!((text.len(), parse_http_date(&text).ok()), (29, Some(at(day * DAY + 1))), "{text}");
        }
    }

    #[test]
    fn times_that_can_t_be_written_become_the_nearest_that_can() {
        let hour = Duration::from_secs(3_600);
        for (time, text) in [
            (UNIX_EPOCH - hour, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH - 1_000_000 * hour, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (at(LAST) + hour, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (at(LAST * 30), "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(fmt_http_date(time), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "Sun",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Tue, 29 Feb 2100 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert!(parse_http_date(text).is_err(), "{text}");
        }
    }
}
