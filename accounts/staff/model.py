"""Staff accounts, and the rules about them that need no database.

StaffError
├── SignInRefused     no such login name, or another password: which, is not said
├── TotpRequired      the password was right; a code of the second factor is missing
├── TotpRefused       the code is wrong, too old, or was used before
├── TotpWrong         the same, from who is signed in already
├── PasswordWrong     who is signed in gave another password than their own
├── WeakPassword      a password that would soon be guessed
├── UnfitLoginName    a login name in a spelling that could be taken for another
├── LoginNameTaken    somebody has it, in whatever case
├── StaffNotFound     no such account
├── NotOneself        nobody deletes or demotes themselves
├── LastOwner         without an owner nobody could make one
├── OwnerSeesAll      an owner cannot be kept to some stores
├── StoreUnknown      no such store to be kept to
├── TotpIsOn          there is a second factor already
└── TotpNotBegun      no second factor waits to be turned on
"""

import unicodedata
from typing import Final, Literal, TypeAlias

import msgspec

from accounts.model import AccountsError
from sql.types import Millis

Role: TypeAlias = Literal["owner", "operator", "finance", "support", "readonly"]
Sex: TypeAlias = Literal[0, 1, 2]
"""0 not said, 1 male, 2 female."""
Status: TypeAlias = Literal[0, 1]

DELETED: Final = 0
ACTIVE: Final = 1

LOGIN_NAME_MAX: Final = 20
PASSWORD_MIN: Final = 10
PASSWORD_MAX: Final = 256
PASSWORD_LETTERS_MIN: Final = 4

# Of ten characters and more, those that lists of stolen passwords begin with.
COMMON_PASSWORDS: Final = frozenset(
    {
        "0123456789",
        "0987654321",
        "1122334455",
        "1234554321",
        "1234567890",
        "12345678910",
        "123456789a",
        "1q2w3e4r5t",
        "1qaz2wsx3edc",
        "5201314520",
        "9876543210",
        "a123456789",
        "aa123456789",
        "abcdefghij",
        "administrator",
        "admin12345",
        "changeme123",
        "football123",
        "iloveyou123",
        "letmein123",
        "password01",
        "password12",
        "password123",
        "password1234",
        "qazwsxedcrfv",
        "qwertyuiop",
        "qwertyuiop123",
        "superman123",
        "woaini1314",
        "woaini520520",
        "zxcvbnm123",
    }
)


class StaffAccount(msgspec.Struct, frozen=True):
    """As the back office sees it; the hash of the password stays in the store.

    store_ids: the stores it is kept to, in order; none: it sees all.
    """

    id: int
    login_name: str
    nickname: str
    mobile: str
    email: str
    sex: Sex
    avatar: str
    role: Role
    status: Status
    has_totp: bool
    created_at: Millis
    updated_at: Millis
    store_ids: tuple[int, ...] = ()

    @property
    def is_active_owner(self) -> bool:
        return self.role == "owner" and self.status == ACTIVE


class Credentials(msgspec.Struct, frozen=True):
    """What a sign-in is compared with."""

    account_id: int
    login_name: str
    status: Status
    password_hash: str
    totp_secret: str
    totp_pending: str
    totp_step: int


class Enrolment(msgspec.Struct, frozen=True):
    """A second factor's secret, in the only moment it is shown; uri: the same for a QR code."""

    secret: str
    uri: str


class StaffError(AccountsError):
    """Base of the family."""

    code = "staff.error"
    title = "Staff error"


class SignInRefused(StaffError):
    code = "session.refused"
    title = "The login name or the password is wrong"


class TotpRequired(StaffError):
    code = "session.totp_required"
    title = "A code of the second factor is needed"


class TotpRefused(StaffError):
    code = "session.totp_refused"
    title = "The code of the second factor is wrong or was used"


class TotpWrong(StaffError):
    code = "staff.totp_wrong"
    title = "The code of the second factor is wrong"


class PasswordWrong(StaffError):
    code = "staff.password_wrong"
    title = "This is not your password"


class WeakPassword(StaffError):
    code = "staff.weak_password"
    title = "The password is too easily guessed"


class UnfitLoginName(StaffError):
    code = "staff.unfit_login_name"
    title = "The login name cannot be used"


class LoginNameTaken(StaffError):
    code = "staff.login_name_taken"
    title = "Another account has this login name"


class StaffNotFound(StaffError):
    code = "staff.not_found"
    title = "There is no such staff account"


class NotOneself(StaffError):
    code = "staff.not_oneself"
    title = "Nobody deletes or demotes their own account"


class LastOwner(StaffError):
    code = "staff.last_owner"
    title = "The last owner cannot be deleted or demoted"


class OwnerSeesAll(StaffError):
    code = "staff.owner_sees_all"
    title = "An owner cannot be kept to some stores"


class StoreUnknown(StaffError):
    code = "staff.store_unknown"
    title = "There is no such store to keep somebody to"


class TotpIsOn(StaffError):
    code = "staff.totp_is_on"
    title = "The account has a second factor already"


class TotpNotBegun(StaffError):
    code = "staff.totp_not_begun"
    title = "No second factor waits to be turned on"


def folded(login_name: str) -> str:
    """The name as it is compared: `Li`, `LI` and a full-width `ｌｉ` are one."""
    return unicodedata.normalize("NFKC", login_name).casefold()


def check_login_name(login_name: str) -> None:
    """Raises UnfitLoginName."""
    if not 0 < len(login_name) <= LOGIN_NAME_MAX:
        raise UnfitLoginName(f"A login name has 1 to {LOGIN_NAME_MAX} characters.")
    if unicodedata.normalize("NFKC", login_name) != login_name:
        # Folding one of these could make a dozen characters of each.
        raise UnfitLoginName("The login name has characters with a simpler spelling.")
    if not all(each.isalnum() or each in "._@-" for each in login_name):
        raise UnfitLoginName("A login name has letters, digits and . _ @ - only.")


def check_password(password: str, *, login_name: str) -> None:
    """Raises WeakPassword. Source: NIST SP 800-63B, 5.1.1.2: length, and lists of the worst."""
    if len(password) < PASSWORD_MIN:
        raise WeakPassword(f"A password has at least {PASSWORD_MIN} characters.")
    if len(password) > PASSWORD_MAX:
        raise WeakPassword(f"A password has at most {PASSWORD_MAX} characters.")
    if folded(password) == folded(login_name):
        raise WeakPassword("The login name is no password.")
    if folded(password) in COMMON_PASSWORDS or len(set(password)) < PASSWORD_LETTERS_MIN:
        raise WeakPassword("Everybody tries this password first.")
