package larder;

import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.lang3.StringUtils;

/** Commands. */
final class Tool {
    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "ask" -> System.out.println(HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(URI.create("http://localhost:8080" + arguments[1])).build(), HttpResponse.BodyHandlers.ofString()).body());
            case "say" -> System.out.println(StringUtils.capitalize(arguments[1]) + " " + com.google.common.base.Strings.repeat("ab", 3));
            case "squeeze" -> {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                try (GZIPOutputStream packed = new GZIPOutputStream(out)) {
                    packed.write(new byte[1000]);
                }
                System.out.println(out.size() < 100);
            }
            case "shell" -> System.out.print(new String(new ProcessBuilder("/bin/sh", "-c", "echo \"$0\"", "leek").start().getInputStream().readAllBytes()));
            case "memory" -> System.out.println(java.lang.management.ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getMax() > 0);
            case "xml" -> System.out.println(javax.xml.parsers.DocumentBuilderFactory.newInstance().newDocumentBuilder()
                .parse(new java.io.ByteArrayInputStream("<a>leek</a>".getBytes())).getDocumentElement().getTextContent());
            default -> {
                System.err.println("there is no " + arguments[0]);
                System.exit(2);
            }
        }
    }
}
