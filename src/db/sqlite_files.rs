//! Makes the files of a SQLite database private to the server. Files get the mode 0600, and folders that the server
//! makes get 0700.
//!
//! SQLite would create the file with the mode that the umask allows, and gives `-wal`, `-shm` and `-journal` the mode
//! of the database. Therefore the database is created here, empty and private, before SQLite opens it. Files of earlier
//! versions are made private too.
use crate::base::private_files;
use crate::base::private_files::{FILE, FOLDER};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The default of `data_dir`.
const DEFAULT_FOLDER: &str = "./data";

/// The suffixes that SQLite appends to the name of the database for its other files.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What the server writes into its data folder besides the database.
const OTHERS: [&str; 1] = ["secrets"];

/// Lets only one thread prepare a file at a time. A process that closes a file loses all its locks on that file.
/// Therefore SQLite must not open a file in this process while it is created here. A file that exists is never opened
/// here, for the same reason.
static MAKING: Mutex<()> = Mutex::new(());

/// The paths about which something was logged. Each of them is logged only once, although a pool opens many
/// connections.
static SAID: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Prepares the file of a database that is about to be opened.
pub fn prepare(path: &Path) -> io::Result<()> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        prepare_folder(folder, path)?;
    }
    match private_files::is_open_to_others(path) {
        Ok(_) => restrict(path, FILE),
        Err(error) if error.kind() == ErrorKind::NotFound => private_files::create_empty(path)?,
        Err(error) => return Err(error),
    }
    for suffix in SUFFIXES {
        restrict(&with_suffix(path, suffix), FILE);
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Creates the folder. If the folder exists and is open to other users, it may be shared on purpose, so only a warning
/// is logged. But the default data folder is made private, if it holds nothing but the server's own files.
fn prepare_folder(folder: &Path, database: &Path) -> io::Result<()> {
    private_files::create_folder(folder)?;
    if !private_files::is_open_to_others(folder)? {
        return Ok(());
    }
    if folder == Path::new(DEFAULT_FOLDER) && holds_only_ours(folder, database)? {
        restrict(folder, FOLDER);
    } else if is_said_first(folder) {
        let mode = format!("{:o}", private_files::mode_of(folder)?);
        tracing::warn!(
            folder = %folder.display(),
            mode,
            "Other users of this machine have access to the folder of the database. Its files are closed to them, but users \
             who may write to the folder can replace them: make it 0700 unless it is shared on purpose"
        );
    }
    Ok(())
}

fn holds_only_ours(folder: &Path, database: &Path) -> io::Result<bool> {
    let files = SUFFIXES.into_iter().chain([""]).filter_map(|suffix| {
        let file = with_suffix(database, suffix);
        file.file_name().map(OsString::from)
    });
    let ours: BTreeSet<OsString> = files.chain(OTHERS.map(OsString::from)).collect();
    for entry in std::fs::read_dir(folder)? {
        if !ours.contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a file or folder private if other users have access to it. The server may not be allowed to do that, or the
/// file system may have no modes. Then it logs a warning and goes on.
fn restrict(path: &Path, mode: u32) {
    match private_files::restrict(path, mode) {
        Ok(true) if is_said_first(path) => {
            tracing::info!(path = %path.display(), "Other users of this machine had access to this: now they have not");
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {} // SQLite removes it when the last connection closes
        Err(error) if is_said_first(path) => {
            tracing::warn!(%error, path = %path.display(), "Other users of this machine have access to this, and we can't change that");
        }
        Err(_) => {}
    }
}

fn is_said_first(path: &Path) -> bool {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::private_files::mode_of;
    use crate::base::test_log::TestLog;
    use crate::db::connect::{Target, establish};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn target(path: &Path) -> Target {
        Target::parse(&format!("sqlite://{}", path.display()), None).unwrap()
    }

    /// The modes of the database, its `-wal` and its `-shm`.
    fn modes(path: &Path) -> [u32; 3] {
        ["", "-wal", "-shm"].map(|suffix| mode_of(&with_suffix(path, suffix)).unwrap())
    }

    #[tokio::test]
    async fn a_new_database_is_private_with_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/for/it/new.db");
        let first = establish(&target(&path)).await.unwrap();
        let second = establish(&target(&path)).await.unwrap();
        assert_eq!(modes(&path), [FILE; 3]);
        for made in ["made", "made/for", "made/for/it"] {
            assert_eq!(mode_of(&folder.path().join(made)).unwrap(), FOLDER, "{made}");
        }
        drop((first, second));
    }

    #[tokio::test]
    async fn a_database_of_an_earlier_version_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let first = establish(&target(&path)).await.unwrap();
        let second = establish(&target(&path)).await.unwrap(); // finds WAL mode and makes the other files
        for suffix in ["", "-wal", "-shm"] {
            set_mode(&with_suffix(&path, suffix), 0o644);
        }
        let third = establish(&target(&path)).await.unwrap();
        assert_eq!(modes(&path), [FILE; 3]);
        drop((first, second, third));
    }

    #[test]
    fn a_file_that_a_link_names_is_made_where_it_points() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link.db"), folder.path().join("volume.db"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        prepare(&link).unwrap();
        assert_eq!(mode_of(&file).unwrap(), FILE);
        set_mode(&file, 0o666);
        prepare(&link).unwrap();
        assert_eq!(mode_of(&file).unwrap(), FILE);
    }

    #[test]
    fn a_folder_that_is_shared_stays_so_and_is_spoken_of_once() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let path = folder.path().join("shared.db");
        let (log, _reading) = TestLog::start("warn".into());
        prepare(&path).unwrap();
        prepare(&path).unwrap();
        let log = log.text();
        assert_eq!((mode_of(folder.path()).unwrap(), mode_of(&path).unwrap()), (0o755, FILE));
        assert_eq!(log.matches("make it 0700 unless it is shared on purpose").count(), 1, "{log}");
    }

    #[test]
    fn the_default_folder_is_told_from_one_that_holds_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bizcenter.db");
        for ours in ["bizcenter.db", "bizcenter.db-wal", "bizcenter.db-shm"] {
            std::fs::write(folder.path().join(ours), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("secrets")).unwrap();
        assert!(holds_only_ours(folder.path(), &path).unwrap());
        std::fs::write(folder.path().join("prices.csv"), "").unwrap();
        assert!(!holds_only_ours(folder.path(), &path).unwrap());
        let settings = include_str!("../config/default.toml");
        assert!(settings.contains(&format!("data_dir = \"{DEFAULT_FOLDER}\"")), "the default is another one by now");
    }
}
