//! Indonesian; Malay is near enough.

use super::Lexicon;

pub(super) static LEXICON: Lexicon = Lexicon {
    answers: "ada, baik, baiklah, belum, benar, betul, bisa, boleh, bukan, enggak, gak, halo, iya, kasih, mau, mungkin, \
        nggak, ok, oke, setuju, siap, sudah, tentu, terima, tidak, ya",
    dangling: "adalah, agar, atau, dan, dengan, eh, em, emm, garis, hingga, ialah, kalau, karena, ke, oleh, sebab, \
        seperti, supaya, tetapi, titik, uh, um, untuk, yaitu, yang",
    digits: "delapan, dua, empat, enam, kosong, lima, nol, satu, sembilan, tiga, tujuh",
    digit_signs: "dobel, double, plus",
    fillers: "ah, baik, begitu, benar, betul, eh, em, gitu, he eh, he'eh, heeh, hem, hm, hmm, ih, iya, lanjut, mhm, mm, \
        mmm, nah, nggih, o, oh, ok, okay, oke, siap, sip, terus, uh, ya, yah",
    greetings: "hai, hallo, halo, pagi, selamat malam, selamat pagi, selamat siang, selamat sore, siang, sore",
    holding: &["Sebentar ya, saya cek dulu.", "Terima kasih sudah menunggu, masih saya cek."],
    introductions: "alamat saya, email saya, kode saya, nama saya, nomor hp saya, nomor rekening saya, nomor saya, \
        nomor telepon saya, nomornya, tanggal lahir saya",
    leaning: "akan, apa, apakah, bagaimana, bahwa, bisa, buat, dalam, dari, di, harus, ini, jadi, jika, juga, kalo, \
        kapan, lalu, mana, masih, mau, mungkin, pada, sama, sampai, saya, sedang, tapi, telah, terus, tolong",
    numbers: "angka, digit, kode, nomor, nomornya, pin",
    references: "apa, berapa, bukan, ini, itu, mana, tahu",
};
