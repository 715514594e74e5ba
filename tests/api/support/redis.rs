//! Sends commands to a Redis, for tests that check what is in it.
use redis::FromRedisValue;

/// Sends one command and returns the answer.
pub async fn redis_call<T: FromRedisValue>(url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]).query_async(&mut conn).await.unwrap()
}
