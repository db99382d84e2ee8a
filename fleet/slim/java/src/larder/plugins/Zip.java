package larder.plugins;

import java.io.ByteArrayOutputStream;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import larder.Exporter;

public final class Zip implements Exporter {
    public String name() {
        return "zip";
    }

    public String type() {
        return "application/zip";
    }

    public byte[] write(Map<String, Double> dishes) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (ZipOutputStream archive = new ZipOutputStream(out)) {
            for (String name : dishes.keySet()) {
                archive.putNextEntry(new ZipEntry(name + ".txt"));
            }
        }
        return out.toByteArray();
    }
}
