//! Lists that are answered from a cache, without a query for their rows, as long as the rows have not changed.
use super::response::Listed;
use crate::api::Caller;
use crate::api::list::{Filter, List, Page};
use crate::auth::Permission;
use crate::base::error::Result;
use crate::db::cache_versions::CacheScope;
use crate::db::{Db, ReadTx, Scope};
use crate::services::cache::{Cache, CacheKey};
use futures_util::future::BoxFuture;
use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use serde::Serialize;
use std::marker::PhantomData;
use std::time::Duration;

/// How long a list stays in the cache.
const LIFETIME: Duration = Duration::from_secs(60);

/// As [`Listed`], but rendered as a text that is kept in the cache.
pub struct CachedList<T> {
    text: String,
    of: PhantomData<fn() -> T>,
}

impl<T: Type + ToJSON + Serialize + Send + Sync + 'static> CachedList<T> {
    /// Returns the list from the cache, or reads it with `page`. This is for lists that are the same for everybody in
    /// the tenant. No lease is held while the cache is asked.
    pub async fn find<F, A, P>(
        db: &Db,
        cache: &Cache,
        caller: &Caller<A>,
        scope: CacheScope,
        list: &List<F>,
        page: P,
    ) -> Result<Self>
    where
        F: Filter<Item = T> + Sync,
        F::Column: Sync,
        A: Permission,
        P: for<'a> Fn(&'a mut ReadTx, &'a List<F>) -> BoxFuture<'a, Result<Page<T>>> + Send + Sync,
    {
        let asked = list.canonical();
        let key = |cache_version| CacheKey::new(caller.tenant(), scope, cache_version, &asked);
        let cache_version = db.find(caller, async |tx| tx.cache_version(scope).await).await?;
        if let Some(text) = cache.get(&key(cache_version)).await {
            return Ok(Self { text, of: PhantomData });
        }
        // The version is read again, because another request may have changed the rows meanwhile. It has to be the
        // version of the page.
        let read = async |tx: &mut ReadTx| Ok((tx.cache_version(scope).await?, page(tx, list).await?));
        let (cache_version, found) = list.read(db, caller, read).await?;
        let text = Listed(found).into_text();
        cache.put(key(cache_version), &text, LIFETIME).await;
        Ok(Self { text, of: PhantomData })
    }
}

impl<T> IntoResponse for CachedList<T> {
    fn into_response(self) -> Response {
        super::response::json_response(StatusCode::OK, &self.text)
    }
}
impl<T: Type + ToJSON + Serialize> ApiResponse for CachedList<T> {
    fn meta() -> MetaResponses {
        Listed::<T>::meta()
    }
    fn register(registry: &mut Registry) {
        Listed::<T>::register(registry);
    }
}
