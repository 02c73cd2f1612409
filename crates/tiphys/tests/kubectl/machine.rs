//! What clusters of several tests share on one machine: address ranges, ports, packed images.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

/// Address ranges that no other test has while this lives.
pub(crate) struct Slot {
    number: u8,
    _lock: Flock<File>,
}

impl Slot {
    /// Ranges from 10.160.0.0 on, so that a cluster with the default ranges is not in the way.
    pub(crate) fn take() -> Self {
        let directory = std::env::temp_dir().join("tiphys-it-slots");
        fs::create_dir_all(&directory).unwrap();
        let free = (0..40).find_map(|number| {
            let file = File::create(directory.join(number.to_string())).unwrap();
            let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
            Some(Self { number, _lock: lock })
        });
        free.expect("forty tests at once")
    }

    pub(crate) fn pods(&self) -> String {
        format!("10.{}.0.0/16", 160 + 2 * self.number)
    }

    pub(crate) fn services(&self) -> String {
        format!("10.{}.0.0/16", 161 + 2 * self.number)
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The archive of an image, packed once for all tests.
pub(crate) fn archive(image: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    fs::create_dir_all(&directory).unwrap();
    let lock = File::create(directory.join("lock")).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
    let archive = directory.join(format!("{image}.tar"));
    if !archive.exists() {
        let partial = directory.join(format!("{image}.partial"));
        let status = Command::new(env!("CARGO_BIN_EXE_tiphys"))
            .args(["image", "pack", image, "-o"])
            .arg(&partial)
            .status()
            .unwrap();
        assert!(status.success(), "pack {image}");
        fs::rename(&partial, &archive).unwrap();
    }
    archive
}
