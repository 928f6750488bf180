"""The one exception tree of the project.

Every error that crosses a module boundary is one of these, and its place in the tree answers the only
question a caller may ask: does trying again help?

    SnowplowPostHogError
    ├── TerminalError            a person must change something; a retry repeats the failure
    │   ├── SettingsError            a setting is missing, malformed or contradicts another
    │   ├── TargetError              host, project or key differ from what the target recorded
    │   ├── AuthenticationError      PostHog answered 401: the project API key is wrong
    │   ├── WorkspaceError           the workspace holds something this release does not understand
    │   ├── AccountingError          a sum that must add up does not
    │   ├── PoisonedError            more events were refused than the settings allow
    │   └── PausedError              an operator paused the target
    ├── TransientError           the same call may succeed later
    │   ├── StorageUnavailableError  S3 did not answer, or answered with a server error
    │   ├── CaptureUnavailableError  PostHog did not acknowledge within the retry budget
    │   └── InterruptedRunError      the run was asked to stop; nothing acknowledged was lost
    └── ObjectError              one archive object is at fault, its neighbours are not
        ├── BrokenObjectError        the bytes are no gzip, truncated or corrupt
        │   └── RefusedObjectError       S3 does not hand them over to these credentials
        ├── UnreadObjectError        the transfer was cut
        ├── SupersededObjectError    the key now holds other bytes than were listed
        └── GoneObjectError          the key was listed and has vanished

Messages name the thing and the cure in one line, because an operator reads them at night. No message,
argument or attribute may hold a secret.
"""


class SnowplowPostHogError(Exception):
    """Base of all errors that this project raises on purpose."""


class TerminalError(SnowplowPostHogError):
    """Trying again repeats the failure; the message says what a person must change."""


class SettingsError(TerminalError):
    """A setting is missing, malformed, or contradicts another one."""


class TargetError(TerminalError):
    """The target is not the PostHog project that its name stood for before."""


class AuthenticationError(TerminalError):
    """PostHog refused the project API key (401)."""


class WorkspaceError(TerminalError):
    """The workspace holds a layout or a log entry that this release does not know."""


class AccountingError(TerminalError):
    """A sum that must add up does not; the message holds the numbers."""


class PoisonedError(TerminalError):
    """PostHog refuses a larger share of events than the settings allow."""


class PausedError(TerminalError):
    """Deliveries to the target are paused by an operator."""


class TransientError(SnowplowPostHogError):
    """The same call may succeed later."""


class StorageUnavailableError(TransientError):
    """S3 could not be reached or answered with a server error after all retries."""


class CaptureUnavailableError(TransientError):
    """PostHog did not acknowledge a body within its retry budget."""


class InterruptedRunError(TransientError):
    """The run was asked to stop; what was acknowledged is in the day log."""


class ObjectError(SnowplowPostHogError):
    """One archive object is at fault; the objects beside it go on."""


class BrokenObjectError(ObjectError):
    """The bytes of the object cannot be read to the end (truncated, corrupt, too large)."""


class RefusedObjectError(BrokenObjectError):
    """S3 refuses this object to these credentials: its owner's ACL, its KMS key, or the right itself is missing."""


class UnreadObjectError(ObjectError):
    """The transfer of the object failed or was cut; the next try may succeed."""


class SupersededObjectError(ObjectError):
    """The key holds other bytes than the ones that were listed."""


class GoneObjectError(ObjectError):
    """The key was listed and no longer exists."""
