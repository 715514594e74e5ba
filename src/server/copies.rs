//! A file that never changes, in each coding that clients accept. Each copy is made once, either at build time or for
//! the first client that requests it. If the file were compressed for each request, any client could keep the server
//! busy at little cost.
use super::coding::Coding;
use super::pack;
use crate::base::error::{Error, Result};
use bytes::Bytes;
use tokio::sync::OnceCell;
use tracing::Instrument;

/// The copies of one file. The body of an answer that has a `&'static Copies` among its data is replaced with the copy
/// in the negotiated coding.
pub struct Copies {
    plain: Bytes,
    brotli: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
}

impl Copies {
    /// Copies that are made when they are first requested.
    pub fn of(plain: &'static str) -> Self {
        Self { plain: Bytes::from_static(plain.as_bytes()), brotli: OnceCell::new(), gzip: OnceCell::new() }
    }

    /// Copies that `build.rs` has made.
    pub fn built(plain: &'static str, brotli: &'static [u8], gzip: &'static [u8]) -> Self {
        let made = |copy| OnceCell::new_with(Some(Bytes::from_static(copy)));
        Self { plain: Bytes::from_static(plain.as_bytes()), brotli: made(brotli), gzip: made(gzip) }
    }

    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// The copy in this coding. It is made on a thread for blocking work, so that other requests are not delayed. A
    /// task of its own finishes the copy even if the client has left. Otherwise clients that send requests and leave
    /// would make the server start again and again.
    pub async fn packed(&'static self, coding: Coding) -> Result<Bytes> {
        let cell = match coding {
            Coding::Brotli => &self.brotli,
            Coding::Gzip => &self.gzip,
        };
        let pack = move || match coding {
            Coding::Brotli => pack::brotli(&self.plain),
            Coding::Gzip => pack::gzip(&self.plain),
        };
        if let Some(copy) = cell.get() {
            return Ok(copy.clone());
        }
        let broken_off = |error: tokio::task::JoinError| Error::Internal(error.into());
        let make = async move {
            let packed = tokio::task::spawn_blocking(pack).await.map_err(broken_off)?;
            Ok::<_, Error>(Bytes::from(packed.map_err(|error| Error::Internal(error.into()))?))
        };
        let made = async move { cell.get_or_try_init(|| make).await.cloned() };
        tokio::spawn(made.in_current_span()).await.map_err(broken_off)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use std::io::Read;

    fn unpacked(coding: Coding, packed: &[u8]) -> Vec<u8> {
        let mut plain = vec![];
        match coding {
            Coding::Brotli => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain).unwrap(),
            Coding::Gzip => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap(),
        };
        plain
    }

    #[tokio::test]
    async fn each_copy_is_made_once_for_all_who_ask() {
        let text: &'static str = Box::leak("A page for everybody. ".repeat(1000).into_boxed_str());
        let copies: &'static Copies = Box::leak(Box::new(Copies::of(text)));
        for coding in Coding::ALL {
            let at_once = join_all((0..20).map(|_| copies.packed(coding))).await;
            let first = copies.packed(coding).await.unwrap();
            assert!(first.len() < text.len() / 10, "{coding:?}: {}", first.len());
            assert_eq!(unpacked(coding, &first), text.as_bytes(), "{coding:?}");
            for other in at_once {
                assert_eq!(other.unwrap().as_ptr(), first.as_ptr(), "{coding:?}: these are the same bytes in memory");
            }
        }
    }

    #[tokio::test]
    async fn a_copy_that_a_client_left_waiting_is_finished_for_the_next() {
        let text: &'static str = Box::leak("Somebody asks and leaves. ".repeat(1000).into_boxed_str());
        let copies: &'static Copies = Box::leak(Box::new(Copies::of(text)));
        let gone = copies.packed(Coding::Gzip);
        assert!(gone.now_or_never().is_none(), "it is not at hand yet");
        for _ in 0..500 {
            if copies.gzip.initialized() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("nobody has finished the copy");
    }

    #[tokio::test]
    async fn what_was_built_is_served_as_it_is() {
        static BUILT: std::sync::LazyLock<Copies> = std::sync::LazyLock::new(|| Copies::built("plain", b"b", b"g"));
        assert_eq!(BUILT.packed(Coding::Brotli).await.unwrap(), "b");
        assert_eq!(BUILT.packed(Coding::Gzip).await.unwrap(), "g");
        assert_eq!(BUILT.plain(), "plain");
    }
}
