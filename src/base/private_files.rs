//! Files and folders that are the server's alone. They have their modes from the first moment on, whatever the umask: it could
//! let others in, and it could lock us out.
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Only their owner reads and writes them.
pub const FILE: u32 = 0o600;
/// Only its owner enters it.
pub const FOLDER: u32 = 0o700;

/// Makes a folder, and those above it that are missing. One that is there already stays as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(FOLDER)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()), // another process was faster
        Err(error) => Err(error),
    }
}

/// Opens a new file to write it. `AlreadyExists` where there is one.
pub fn create_new(path: &Path) -> io::Result<File> {
    create(OpenOptions::new().write(true).create_new(true), path)
}

/// Makes an empty file. One that another process makes at the same moment keeps what is in it.
pub fn create_empty(path: &Path) -> io::Result<()> {
    create(OpenOptions::new().write(true).create(true).truncate(false), path).map(drop)
}

fn create(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Takes away from others what they may do with this file or folder, if that is anything: whether it was.
pub fn restrict(path: &Path, mode: u32) -> io::Result<bool> {
    let is_open = is_open_to_others(path)?;
    if is_open {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(is_open)
}

/// Whether anybody but the owner may do anything with it.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(mode_of(path)? & 0o077 != 0)
}

/// The permission bits.
pub fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_private_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_folder(&inner).unwrap();
        assert_eq!([mode_of(&inner).unwrap(), mode_of(&folder.path().join("a")).unwrap()], [FOLDER; 2]);
        std::fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        create_folder(&inner).unwrap();
        assert_eq!(mode_of(&inner).unwrap(), 0o755, "somebody may have shared it on purpose");

        let file = inner.join("file");
        create_new(&file).unwrap();
        assert_eq!(mode_of(&file).unwrap(), FILE);
        assert_eq!(create_new(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
        std::fs::write(&file, "kept").unwrap();
        create_empty(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }

    #[test]
    fn what_is_too_open_is_closed_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for mode in [0o644, 0o660, 0o601] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!([restrict(&file, FILE).unwrap(), restrict(&file, FILE).unwrap()], [true, false], "{mode:o}");
            assert_eq!(mode_of(&file).unwrap(), FILE);
        }
        std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert!(!restrict(&file, FILE).unwrap(), "a file that even its owner only reads is none of our business");
        assert_eq!(restrict(&folder.path().join("none"), FILE).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
