//! A server that speaks the protocol of S3, checks signatures, and keeps its objects in a folder.
use bizcenter::config::{Config, StorageUrl};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;

const BUCKET: &str = "files";
const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

#[derive(Clone)]
pub struct S3 {
    pub address: SocketAddr,
    folder: Arc<TempDir>,
}

impl S3 {
    /// Starts a server with an empty bucket. It ends with the runtime that calls this.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, folder: Arc::new(folder) }
    }

    /// Lets a server keep its files in the bucket, below a prefix.
    pub fn configure(&self, config: &mut Config) {
        self.configure_at(self.address, config);
    }

    /// As [`Self::configure`], but by way of another address.
    pub fn configure_at(&self, address: SocketAddr, config: &mut Config) {
        config.storage.url = StorageUrl::S3 { bucket: BUCKET.to_owned(), prefix: "of/tests".to_owned() };
        config.storage.endpoint = Some(format!("http://{address}"));
        config.storage.access_key_id = Some(KEY.to_owned());
        config.storage.secret_access_key = Some(SECRET.to_owned().into());
    }

    /// Where the objects below the prefix are.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET).join("of/tests")
    }

    /// The server's own files of uploads in parts that are under way.
    pub fn parts(&self) -> usize {
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".part-")).count()
    }
}
