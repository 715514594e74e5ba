//! The modes of the files that the server writes, whatever the umask of the user who starts it.
use crate::cli::run;
use crate::support::{Kind, TestDatabase, is_for};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::process::Command;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs the binary with this umask, in a folder without settings.
async fn migrate(folder: &Path, umask: &str) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("umask {umask} && exec \"$0\" migrate up"), env!("CARGO_BIN_EXE_bizcenter")]);
    let (code, _, error) = run(command.current_dir(folder).env_clear()).await;
    assert_eq!(code, 0, "{error}");
}

#[tokio::test]
async fn data_and_secrets_are_private_whatever_the_umask() {
    if !is_for(Kind::Sqlite, "it is the same on all runs, as SQLite is what the binary takes without settings") {
        return;
    }
    for umask in ["000", "022", "077", "277"] {
        let home = tempfile::tempdir().unwrap();
        migrate(home.path(), umask).await;
        let data = home.path().join("data");
        for (path, expected) in [
            (data.clone(), 0o700),
            (data.join("bizcenter.db"), 0o600),
            (data.join("secrets"), 0o700),
            (data.join("secrets/jwt_secret"), 0o600),
            (data.join("secrets/encryption_key"), 0o600),
        ] {
            assert_eq!(mode(&path), expected, "{} with umask {umask}", path.display());
        }
        // Files that an earlier version left readable by others become private.
        set_mode(&data, 0o755);
        set_mode(&data.join("bizcenter.db"), 0o644);
        set_mode(&data.join("secrets"), 0o755);
        set_mode(&data.join("secrets/jwt_secret"), 0o644);
        migrate(home.path(), umask).await;
        let paths = [data.clone(), data.join("bizcenter.db"), data.join("secrets"), data.join("secrets/jwt_secret")];
        assert_eq!(paths.map(|path| mode(&path)), [0o700, 0o600, 0o700, 0o600], "umask {umask}");
    }
}

#[tokio::test]
async fn a_default_folder_with_something_else_in_it_stays_shared() {
    if !is_for(Kind::Sqlite, "it is the same on all runs, as SQLite is what the binary takes without settings") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("prices.csv"), "for everybody").unwrap();
    set_mode(&data, 0o755);
    migrate(home.path(), "022").await;
    assert_eq!((mode(&data), mode(&data.join("bizcenter.db"))), (0o755, 0o600));
}

/// The files of a running server, while a second process uses the database.
#[tokio::test]
async fn the_files_of_a_running_server_are_private_too() {
    let database = TestDatabase::create().await;
    if !is_for(Kind::Sqlite, "the other databases have no files of ours") {
        return;
    }
    let (_child, address) = crate::cli::serve(&database).await;
    for name in ["test.db", "test.db-wal", "test.db-shm"] {
        assert_eq!(mode(&database.folder.path().join(name)), 0o600, "{name}");
    }
    let (_second, other) = crate::cli::serve(&database).await;
    for address in [address, other] {
        assert_eq!(reqwest::get(format!("{address}/readyz")).await.unwrap().status(), 200);
    }
}
