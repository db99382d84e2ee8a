package larder;

import java.math.BigDecimal;
import java.math.MathContext;
import java.net.IDN;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.text.Collator;
import java.text.Normalizer;
import java.util.HexFormat;
import java.util.Locale;
import java.util.stream.IntStream;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.SSLContext;

/** What is seldom asked for. */
final class Sums {
    static String all() throws Exception {
        Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
        cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(new byte[16], "AES"), new GCMParameterSpec(128, new byte[12]));
        Path file = Files.createTempFile("larder", ".txt");
        Files.writeString(file, "leek");
        return String.join(" ",
            BigDecimal.ONE.divide(BigDecimal.valueOf(7), MathContext.DECIMAL64).toString(),
            IDN.toASCII("bücher.example"),
            HexFormat.of().formatHex(MessageDigest.getInstance("SHA3-256").digest("leek".getBytes())).substring(0, 8),
            String.valueOf(cipher.doFinal(new byte[4]).length),
            String.valueOf(Collator.getInstance(Locale.FRENCH).compare("é", "f")),
            Normalizer.normalize("e\u0301", Normalizer.Form.NFC),
            String.valueOf(IntStream.rangeClosed(1, 1000).parallel().sum()),
            KeyPairGenerator.getInstance("Ed25519").generateKeyPair().getPublic().getAlgorithm(),
            String.valueOf(SSLContext.getDefault().getSupportedSSLParameters().getProtocols().length > 1),
            String.valueOf(new SecureRandom().nextInt(1)),
            Files.probeContentType(file));
    }
}
