//! English.

use super::Lexicon;

pub(super) static LEXICON: Lexicon = Lexicon {
    answers: "absolutely, bye, correct, exactly, fine, goodbye, hello, hi, maybe, never, no, nope, okay, ok, please, \
        right, sure, thank, thanks, yeah, yep, yes, you",
    dangling: "a, an, and, because, dash, dot, er, erm, every, hyphen, i'd, i'm, my, or, our, slash, than, the, their, \
        uh, um, underscore, unless, until, whether, your",
    digits: "eight, five, four, nine, o, oh, one, seven, six, three, two, zero",
    digit_signs: "double, plus, triple",
    fillers: "ah, aha, all right, alright, cool, er, erm, exactly, go on, good, got it, great, hm, hmm, huh, i see, \
        indeed, mhm, mm, mmm, oh, ok, okay, right, sure, true, uh, uhuh, um, wow, yeah, yep, yes, yup",
    greetings: "good afternoon, good evening, good morning, hello, hey, hi, speaking, there",
    holding: &["One moment, please.", "Thank you for waiting, I am still looking."],
    introductions: "account number is, address is, birth is, birthday is, code is, email is, full name is, id is, \
        it's spelled, my name is, name's, number is, number's, pin is, postcode is, that's spelled",
    leaning: "about, actually, also, am, and, are, as, at, but, by, can, could, did, do, does, for, from, had, has, \
        have, he, how, i, if, in, into, is, like, maybe, of, on, she, should, so, some, that, then, they, this, to, \
        was, we, were, what, when, where, which, while, who, why, will, with, would",
    numbers: "code, digits, number, numbers, pin",
    references: "how, know, that, that's, what, what's, whatever, where, which, whose",
};
