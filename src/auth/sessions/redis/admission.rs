//! The script that admits a request, and its answer.
use crate::auth::limits::GCRA;
use redis::Script;
use std::sync::LazyLock;

/// Reads session and principal and charges the limits in one call. The quotas are stored beside the principal, so
/// limits are charged only if a principal is remembered. The answer is one text, because a text takes least time to print
/// and to read: a line for each of the session's user, epoch and end, the generation and the principal, and two for each
/// limit.
pub static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    let main = r#"
local session = redis.call('HMGET', KEYS[1], 'user', 'epoch', 'expires')
local gen = redis.call('GET', KEYS[3]) or ''
local standing = redis.call('HMGET', KEYS[2], 'gen', 'json', 'epoch', 'quota1', 'interval1', 'quota2', 'interval2')
local answer = table.concat({session[1] or '', session[2] or '', session[3] or '', gen}, '\n')
local is_known = gen ~= '' and standing[1] == gen and standing[3] and redis.call('ZCOUNT', KEYS[4], ARGV[1], '+inf') == 0
if not is_known then return answer .. '\n' end
answer = answer .. '\n' .. standing[2]
-- A session that is over, or another user's, costs its user nothing.
local now = tonumber(ARGV[1])
local goes_on = session[1] == ARGV[2] and tonumber(session[3]) > now and tonumber(session[2]) >= tonumber(standing[3])
if not goes_on then return answer end
local limits = {}
for i = 1, #KEYS - 4 do
    local quota = tonumber(standing[2 * i + 2])
    if quota then limits[#limits + 1] = {KEYS[i + 4], quota, tonumber(standing[2 * i + 3])} end
end
for _, number in ipairs(take(limits, now)) do
    answer = answer .. '\n' .. string.format('%.0f', number)
end
return answer"#;
    Script::new(&format!("{GCRA}{main}"))
});

/// What [`ADMIT`] answers.
#[derive(Debug, Default, PartialEq)]
pub struct Admitted<'a> {
    /// The user, the epoch and the end of the session, if there is one.
    pub session: Option<(&'a str, i64, i64)>,
    pub generation: &'a str,
    /// The principal as JSON, if one is remembered.
    pub principal: Option<&'a str>,
    pub limits: Vec<i64>,
}

impl<'a> Admitted<'a> {
    /// Reads the lines. `None` if they are not such an answer.
    pub fn read(answer: &'a str) -> Option<Self> {
        let mut lines = answer.split('\n');
        let (user, epoch, expires) = (lines.next()?, lines.next()?, lines.next()?);
        let (generation, principal) = (lines.next()?, lines.next()?);
        Some(Self {
            session: epoch.parse().ok().zip(expires.parse().ok()).map(|(epoch, expires)| (user, epoch, expires)),
            generation,
            principal: Some(principal).filter(|json| !json.is_empty()),
            limits: lines.map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_lines() {
        let read = |answer| Admitted::read(answer);
        let all = Admitted {
            session: Some(("u", 3, 1_764_500_000_000_000)),
            generation: "g",
            principal: Some("{}"),
            limits: vec![3600, 0, 60, 5],
        };
        assert_eq!(read("u\n3\n1764500000000000\ng\n{}\n3600\n0\n60\n5"), Some(all));
        let not_remembered = Admitted { session: Some(("u", 3, 5)), ..Admitted::default() };
        assert_eq!(read("u\n3\n5\n\n"), Some(not_remembered));
        assert_eq!(read("\n\n\n\n"), Some(Admitted::default()), "no session");
        assert_eq!(read("u\n3\nx\n\n"), Some(Admitted::default()), "no session of ours");
        for odd in ["", "u\n3\n5\ng", "u\n3\n5\ng\n{}\n1.5"] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }
}
